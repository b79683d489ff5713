# SPDX-License-Identifier: Apache-2.0
"""The recorded run, whole and degraded: boundaries must lie where the label rules of the literature put them."""

import pytest

from lightning_interp.phases import detect_phases

LOSSES = ("train_loss", "heldout_loss")
ACCURACIES = ("train_accuracy", "heldout_accuracy")
COLUMN_SETS = {
    "all": None,
    "losses": LOSSES,
    "losses and accuracies": (*LOSSES, *ACCURACIES),
    "losses and norm": (*LOSSES, "weight_norm"),
    "losses and excluded loss": (*LOSSES, "excluded_loss"),
}
# argmin of the excluded loss is 1,500, argmax of the held-out loss 1,400; the held-out loss is under ln 113 from 9,800; the
# accuracy passes .99 at 10,900 and the weight norm is flat by eye from 13,000: the windows allow 200 steps around these


@pytest.fixture(params=COLUMN_SETS, scope="module")
def timeline(request, histories):
    return detect_phases(histories.reference(COLUMN_SETS[request.param]))


def test_detect_phases_calls_the_reference_run_grokking(timeline):
    assert timeline.verdict == "grokking"


def test_detect_phases_orders_the_phases_of_the_reference_run(timeline, histories):
    assert histories.phase_names(timeline) == ["fitting", "memorization", "circuit_formation", "cleanup", "converged"]


def test_detect_phases_ends_memorization_at_the_excluded_loss_minimum(timeline, histories):
    assert 1300 <= histories.boundary(timeline, "circuit_formation") <= 1700


def test_detect_phases_starts_cleanup_where_heldout_loss_passes_chance(timeline, histories):
    assert 8500 <= histories.boundary(timeline, "cleanup") <= 10_000


def test_detect_phases_ends_cleanup_between_solved_and_flat(timeline, histories):
    assert 10_800 <= histories.boundary(timeline, "converged") <= 13_500


def test_detect_phases_caps_confidence_with_losses_alone(histories):
    assert max(phase.confidence for phase in detect_phases(histories.reference(LOSSES)).phases) <= 0.6


def test_detect_phases_reports_first_of_three_accurate_evaluations(histories):
    assert detect_phases(histories.reference()).grokking_step == 10_500  # the first row with test accuracy >= .95


def test_detect_phases_with_classes_takes_chance_from_them(histories):
    chance = detect_phases(histories.reference(), n_classes=113).evidence["chance"]
    assert chance == {"value": pytest.approx(4.7274, abs=1e-4), "source": "ln C, C = 113", "known": True}


@pytest.mark.parametrize("every", [2, 5])
@pytest.mark.parametrize("columns", COLUMN_SETS)
def test_detect_phases_keeps_boundaries_when_rows_are_left_out(histories, every, columns):
    timeline = detect_phases(histories.reference(COLUMN_SETS[columns], every=every))
    found = [histories.boundary(timeline, name) for name in ("circuit_formation", "cleanup", "converged")]
    # one more row apart than in the full file on either side
    assert [
        abs(step - true) <= slack + 100 * every
        for step, true, slack in zip(found, (1400, 9800, 12_000), (0, 0, 1500), strict=True)
    ] == [True] * 3


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("columns", ["all", "losses"])
def test_detect_phases_keeps_boundaries_under_noise(histories, seed, columns):
    timeline = detect_phases(histories.reference(COLUMN_SETS[columns], jitter=0.02, seed=seed))
    # the held-out loss is within 2 % (one noise deviation) of its peak from 1,200 to 1,800, within 4 % from 1,100 to 2,100
    assert (timeline.verdict, 1000 <= histories.boundary(timeline, "circuit_formation") <= 2200) == ("grokking", True)


@pytest.mark.parametrize("seed", range(3))
def test_detect_phases_keeps_cleanup_start_under_noise(histories, seed):
    timeline = detect_phases(histories.reference(LOSSES, jitter=0.02, seed=seed))
    assert 9600 <= histories.boundary(timeline, "cleanup") <= 10_000  # the loss falls by a fifth between rows there


def test_intensities_of_the_reference_run_overlap(histories):
    intensities = {name: dict(points) for name, points in detect_phases(histories.reference()).intensities.items()}
    assert intensities["memorization"][6000] > 0.5 and intensities["circuit_formation"][6000] > 0.5


def test_intensities_of_the_reference_run_peak_in_their_phases(histories):
    timeline = detect_phases(histories.reference())
    ordered = [
        max(points, key=lambda point: point[1])[0]
        for points in (timeline.intensities[name] for name in ("memorization", "circuit_formation", "cleanup"))
    ]
    assert ordered == sorted(ordered)
