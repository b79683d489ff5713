# SPDX-License-Identifier: Apache-2.0
"""Scores of whole runs that are made up, so that what they must come to is known."""

import math

import numpy as np
import pytest
from phase_histories import build, fall, overfit
from scoring.rivals import RIVALS, distance_ratio, hankel_residual, norm_change, off_peak, small_norm
from scoring.runs import ScoredRun
from scoring.scorecard import score_pool
from scoring.timeline_scores import score_timelines

CLASSES = 100
STEPS = np.unique(np.concatenate([[0], np.geomspace(1, 20_000, 250).round()])).astype(int)


@pytest.fixture(scope="module")
def make():
    """A labelled run that groks at a step, or only memorizes permuted answers."""

    def make(name, *, grok=None, part="calibration", decay=1.0, **curves):
        given = {
            "train_loss": lambda s: 1e-6 + math.log(CLASSES) * fall(s, 150, 0.1),
            "train_accuracy": lambda s: 1 - 0.99 * fall(s, 150, 0.05),
            "heldout_loss": lambda s: overfit(s, 150, 15.0) * (fall(s, grok, 0.07) if grok else 1.0) + 1e-4,
            "heldout_accuracy": lambda s: 1 - 0.99 * fall(s, grok, 0.05) if grok else 0.01,
            "heldout_percentile_z": lambda s: 20 * (1 - fall(s, grok / 3, 0.3)) if grok else 0.5,
            "weight_norm": lambda s: 40 * (1 + fall(s, grok or 1e9, 0.3)),
        } | curves
        table = build(STEPS.tolist(), **given)
        columns = {key: np.asarray(values, dtype=float) for key, values in table.items()}
        facts = {"name": name, "part": part, "classes": CLASSES, "weight_decay": decay, "cross_entropy": True}
        return ScoredRun.of(facts | {"answers_shuffled": 0.0 if grok else 0.99}, columns)

    return make


@pytest.fixture(scope="module")
def pool(make):
    runs = [
        make(f"{part} grok {step}", grok=step, part=part) for part in ("calibration", "unseen_seed") for step in (3000, 6000)
    ]
    return runs + [
        make(f"{part} {i}", part=part, decay=float(i)) for part in ("calibration", "unseen_seed") for i in range(3)
    ]


@pytest.fixture(scope="module")
def scored(pool):
    """The scores of the pool by part, and the parts that were told, in their order."""
    done = []
    return score_pool(pool, on_part=done.append), done


def test_timelines_of_clear_runs_agree_with_their_labels(pool):
    found = score_timelines(pool)
    assert found.agreed.value == 1.0 and found.flips == 0
    assert found.confusion == {("grokking", "grokking"): 4, ("memorization_only", "memorization_only"): 6}


def test_boundaries_of_clear_runs_are_found(pool):
    found = score_timelines(pool).boundaries
    for phase in ("circuit_formation", "cleanup"):
        assert found[phase].found.counted == "4 of 4" and found[phase].invented.counted == "0 of 6"
        # Labels and boundaries come from the same curve; they may differ by what is sustained and by a 3-point median.
        assert found[phase].error_of_run < 0.02


def test_a_loss_that_was_not_finite_is_told_to_the_detector(make):
    run = make("a", train_loss=lambda s: 4.0 if s < 5000 else math.nan)
    assert score_timelines([run]).confusion == {("diverged", "diverged"): 1}


def test_every_part_is_scored_and_the_unseen_ones_together(scored):
    scores, done = scored
    assert list(scores) == done == ["calibration", "unseen_seed", "test"]
    assert scores["test"].kinds == {"grokking": 2, "memorization_only": 3}


def test_our_warning_of_clear_runs_is_right(scored):
    ours = scored[0]["unseen_seed"].warnings[0]
    assert (ours.detected.counted, ours.false_alarms.counted) == ("2 of 2", "0 of 3")
    assert ours.areas[0.5].value == 1.0 and ours.lead_share > 0.4


def test_all_scores_are_compared_at_the_same_share_of_false_alarms(scored):
    rows = scored[0]["calibration"].warnings
    calibrated = [row.score for row in rows if "calibration" in row.rule]
    ours = ["early warning", "early warning, accuracies alone", "latent states"]
    assert calibrated == [*ours, *(rival.name for rival in RIVALS)]
    assert all(row.false_alarms.value == 0 for row in rows if "calibration" in row.rule)


def test_a_pool_without_calibration_negatives_has_no_calibrated_rules(make):
    rows = score_pool([make("a", grok=3000)])["calibration"].warnings
    assert not [row for row in rows if "calibration" in row.rule]


def test_off_peak_warns_where_the_loss_is_ten_percent_down(make):
    run = make("a", grok=6000)
    loss, alarm = run.metrics["heldout_loss"], off_peak(run).alarm
    at = int(np.searchsorted(STEPS, alarm))
    assert loss[at - 2] <= 0.9 * loss[:at].max() and loss[at - 3] > 0.9 * loss[:at].max()


def test_norm_scores_count_from_the_start(make):
    run = make("a", weight_norm=lambda s: 10.0 * (1 + (s >= 100)))
    assert norm_change(run).values[[0, -1]] == pytest.approx([0, math.log(2)])
    assert small_norm(run).values[-1] == pytest.approx(-math.log(2))


def test_distance_ratio_warns_at_two_and_a_half_times_its_start(make):
    run = make("a", distance_ratio=lambda s: 0.2 * (1 + 3 * (s >= 1000)))
    third = STEPS[np.searchsorted(STEPS, 1000) + 2]
    assert distance_ratio(run).alarm == third


def test_distance_ratio_is_not_known_before_its_start_is(make):
    assert np.isnan(distance_ratio(make("a", distance_ratio=lambda _: 1.0)).values[:2]).all()


def test_hankel_residual_counts_windows_after_the_fit_alone(make):
    fitted = make("a").label.t_mem
    run = make("a", hankel_residual=lambda s: 100.0 if s < fitted + 500 else 1.0 + 20 * (s > 15_000))
    course = hankel_residual(run)
    assert course.steps[0] >= fitted + 500
    assert course.alarm == STEPS[np.searchsorted(STEPS, 15_001) + 1]


@pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: rival.name)
def test_a_rival_says_nothing_where_its_column_is_missing(make, rival):
    course = rival.course(make("a"))
    assert len(course.steps) == len(course.values)
