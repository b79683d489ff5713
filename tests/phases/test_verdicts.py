# SPDX-License-Identifier: Apache-2.0
"""Verdicts and phases of synthetic runs of every kind."""

import math

import pytest

from lightning_interp.core.errors import MetricsError
from lightning_interp.phases import detect_phases

KINDS = {
    "grokking": "grokking",
    "random_labels": "memorization_only",
    "early": "early_generalization",
    "collapsing": "collapse",
    "underfit": "not_fitted",
    "diverging": "diverged",
    "partial": "partial_generalization",
}


def without(table, *names):
    return {name: column for name, column in table.items() if not any(part in name for part in names)}


@pytest.mark.parametrize("classes", [None, 100])
@pytest.mark.parametrize("noise", [0.0, 0.03])
@pytest.mark.parametrize("kind", KINDS)
def test_detect_phases_gives_the_verdict_of_each_kind_of_run(histories, kind, noise, classes):
    table = histories.noisy(getattr(histories, kind)(), noise, seed=1)
    assert detect_phases(table, n_classes=classes).verdict == KINDS[kind]


def test_detect_phases_does_not_take_weight_decay_on_random_labels_for_a_circuit(histories):
    timeline = detect_phases(histories.random_labels(weight_decay=True))
    assert (timeline.verdict, timeline.current) == ("memorization_only", "memorization")


def test_detect_phases_without_percentile_uses_accuracy_against_luck(histories):
    table = without(histories.random_labels(weight_decay=True), "percentile")
    assert detect_phases(table).verdict == "memorization_only"


def test_detect_phases_without_heldout_data_never_says_circuit_formation(histories):
    assert "circuit_formation" not in histories.phase_names(detect_phases(without(histories.reference(), "heldout")))


def test_detect_phases_without_heldout_data_is_unknown(histories):
    assert detect_phases(without(histories.grokking(), "heldout")).verdict == "unknown"


def test_detect_phases_without_heldout_data_never_says_memorization(histories):
    assert detect_phases(without(histories.grokking(), "heldout")).current == "fitting"


def test_detect_phases_without_train_data_is_unknown(histories):
    assert detect_phases(without(histories.grokking(), "train")).verdict == "unknown"


def test_detect_phases_with_accuracies_only_finds_grokking(histories):
    assert detect_phases(without(histories.grokking(), "loss")).verdict == "grokking"


def test_detect_phases_without_train_accuracy_finds_grokking(histories):
    assert detect_phases(without(histories.grokking(), "train_accuracy")).verdict == "grokking"


def test_detect_phases_with_few_points_is_unknown(histories):
    table = {name: column[:9] for name, column in histories.reference().items()}
    assert detect_phases(table).verdict == "unknown"


def test_detect_phases_of_a_constant_metric_says_nothing():
    table = {"step": list(range(50)), "train_loss": [2.0] * 50, "heldout_loss": [2.0] * 50}
    assert [phase.name for phase in detect_phases(table).phases] == ["warm_up"]


def test_detect_phases_of_a_run_that_starts_late_keeps_its_boundaries(histories):
    timeline = detect_phases(histories.grokking(steps=range(3000, 20_001, 50)), n_classes=100)
    assert histories.boundary(timeline, "cleanup") == pytest.approx(6400, abs=100)  # where the curve crosses ln 100


def test_detect_phases_of_a_densely_logged_run_agrees_with_a_sparse_one(histories):
    sparse, dense = (detect_phases(histories.grokking(steps=range(0, 20_001, every))) for every in (100, 5))
    assert histories.boundary(sparse, "cleanup") == pytest.approx(histories.boundary(dense, "cleanup"), abs=100)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_detect_phases_of_a_loss_that_ends_not_finite_is_diverged(histories, bad):
    table = histories.grokking()
    history = {name: (table["step"], list(column)) for name, column in table.items() if name != "step"}
    history["train_loss"][1][-1] = bad
    assert detect_phases(history).verdict == "diverged"


def test_detect_phases_raises_a_divergence_alarm(histories):
    assert "divergence" in [alarm.name for alarm in detect_phases(histories.diverging()).alarms]


def test_detect_phases_recovers_from_one_bad_value(histories):
    table = histories.grokking()
    history = {name: (table["step"], list(column)) for name, column in table.items() if name != "step"}
    history["train_loss"][1][40] = math.nan
    assert detect_phases(history).verdict == "grokking"


def test_detect_phases_raises_a_collapse_alarm_once(histories):
    assert [alarm.name for alarm in detect_phases(histories.collapsing()).alarms].count("collapse") == 1


def test_detect_phases_ends_in_the_collapse_phase(histories):
    assert detect_phases(histories.collapsing()).current == "collapse"


def test_detect_phases_warns_before_the_network_generalizes(histories):
    timeline = detect_phases(histories.reference())
    alarm = next(alarm for alarm in timeline.alarms if alarm.name == "early_warning")
    assert alarm.step < timeline.evidence["t_gen"] / 2


def test_detect_phases_reads_nan_in_a_table_as_not_logged(histories):
    table = histories.grokking()
    table["heldout_accuracy"] = [value if i % 2 else math.nan for i, value in enumerate(table["heldout_accuracy"])]
    assert detect_phases(table).verdict == "grokking"


def test_detect_phases_of_series_logged_at_different_steps_finds_grokking(histories):
    table = histories.reference()
    shifted = [step + 7 for step in table["step"]]
    history = {n: (shifted if "heldout" in n else table["step"], c) for n, c in table.items() if n != "step"}
    assert detect_phases(history).verdict == "grokking"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"step": [0, 1], "loss": [1.0, 2.0]}, "none of the names"),
        ({"step": [0, 1], "train_loss": [1.0]}, "`train_loss` has 1 values for 2 steps"),
        ({"step": [1, 0], "train_loss": [1.0, 2.0]}, "got 0 at position 1 after 1"),
        ({"step": [0, 1.5], "train_loss": [1.0, 2.0]}, "whole numbers"),
        ({"train_loss": ([0, 0], [1.0, 2.0])}, "steps of `train_loss`"),
        ({"step": [0], "train_accuracy": [97.0]}, "Divide percentages by 100"),
    ],
)
def test_detect_phases_explains_bad_tables(table, message):
    with pytest.raises(MetricsError, match=message):
        detect_phases(table)


def test_evidence_lists_absent_series(histories):
    assert "weight_norm" in detect_phases(histories.grokking()).evidence["series"]["absent"]
