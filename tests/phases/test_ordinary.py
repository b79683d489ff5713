# SPDX-License-Identifier: Apache-2.0
"""What people train: the right verdict, none of it depends on a unit, and nothing is warned of."""

import math

import ordinary_histories as ordinary
import pytest

from lightning_interp.core.errors import MetricsError
from lightning_interp.core.outcome import StandIn
from lightning_interp.phases import detect_phases
from lightning_interp.phases.run_state import CONDITIONS

UNITS = [1e-4, 1.0, 1e5]
RARE = {"null_loss": 0.056, "null_error": 0.01}

KINDS = {
    "recognizer": (ordinary.recognizer(), {}, "early_generalization"),
    "recognizer that never fits the last examples": (ordinary.recognizer(train=0.988), {}, "early_generalization"),
    "slow learner": (ordinary.slow_learner(), {}, "early_generalization"),
    "overfitting, losses alone": (ordinary.overfit(), {}, "overfitting"),
    "overfitting, classes known": (ordinary.overfit(), {"n_classes": 10}, "overfitting"),
    "overfitting, accuracies": (ordinary.overfit(accuracies=True), {}, "overfitting"),
    "regression on noise": (ordinary.noise_regression(), {"null_loss": 1.0}, "memorization_only"),
    "mean image": (ordinary.mean_image(), {}, "not_fitted"),
    "rare class": (ordinary.rare_class(), RARE, "early_generalization"),
    "rare class by lot": (ordinary.rare_class_by_lot(), RARE, "memorization_only"),
    "annealed loss": (ordinary.annealed(), {"n_classes": 10}, "early_generalization"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_detect_phases_gives_the_verdict_of_what_people_train(kind):
    table, facts, right = KINDS[kind]
    assert detect_phases(table, **facts).verdict == right


@pytest.mark.parametrize("kind", KINDS)
def test_detect_phases_warns_of_nothing_in_what_people_train(kind):
    table, facts, _ = KINDS[kind]
    timeline = detect_phases(table, **facts)
    assert "early_warning" not in [alarm.name for alarm in timeline.alarms]
    assert "circuit_formation" not in [phase.name for phase in timeline.phases]
    assert max(value for _, value in timeline.intensities["circuit_formation"]) == 0


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("kind", ["overfit", "noise_regression", "mean_image"])
def test_detect_phases_does_not_depend_on_the_unit_of_a_loss(kind, unit):
    table = getattr(ordinary, kind)()
    plain, scaled = detect_phases(table), detect_phases(ordinary.scaled(table, unit))
    assert (scaled.verdict, scaled.phases) != ("unknown", ())
    assert scaled.verdict == plain.verdict
    assert [(p.name, p.start, p.end) for p in scaled.phases] == [(p.name, p.start, p.end) for p in plain.phases]


@pytest.mark.parametrize("unit", UNITS)
def test_detect_phases_of_a_grokking_run_does_not_depend_on_the_unit_of_a_loss(histories, unit):
    table = histories.grokking(accuracy=False)
    assert detect_phases(ordinary.scaled(table, unit)).verdict == "grokking"


def test_overfitting_begins_at_the_least_heldout_loss():
    table = ordinary.overfit()
    least = table["step"][min(range(len(table["step"])), key=table["heldout_loss"].__getitem__)]
    phase = next(phase for phase in detect_phases(table).phases if phase.name == "overfitting")
    assert phase.start_interval[0] <= least <= phase.start_interval[1]


def test_a_heldout_loss_that_only_wavers_is_not_overfitting(histories):
    table = histories.noisy(ordinary.recognizer(), 0.15, seed=3)
    assert detect_phases({name: table[name] for name in ("step", "train_loss", "heldout_loss")}).verdict != "overfitting"


def test_without_the_null_the_reader_is_told_what_stands_for_it():
    reason = detect_phases(ordinary.noise_regression()).evidence["reason"]
    assert "The loss of a constant predictor is not known; held-out loss at its first record, step 0" in reason


def test_a_fit_that_was_lost_is_told_with_its_steps(histories):
    table = histories.random_labels()
    back = next(i for i, step in enumerate(table["step"]) if step > 3000)
    for index in range(back, len(table["step"])):
        table["train_accuracy"][index], table["train_loss"][index] = 0.7, 1.5
    timeline = detect_phases(table)
    assert timeline.verdict == "not_fitted"
    assert "It was, at steps" in timeline.evidence["reason"]
    assert str(f"{timeline.evidence['fit_to']:,}") in timeline.evidence["reason"]


def test_a_loss_under_zero_is_not_told_in_shares():
    steps = list(range(0, 2000, 20))
    curve = [1 - 4 * (1 - 1 / (1 + s / 200)) for s in steps]
    timeline = detect_phases({"step": steps, "train_loss": curve, "heldout_loss": curve})
    assert timeline.verdict == "unknown" and "below 0" in timeline.evidence["reason"]


def test_a_log_that_begins_deep_in_training_is_not_said_to_have_memorized():
    steps = list(range(50_000, 60_000, 100))
    table = {"step": steps, "train_loss": [0.3 / (1 + i) for i in range(100)], "heldout_loss": [0.31] * 100}
    timeline = detect_phases(table)
    assert timeline.verdict == "unknown" and "deep in training" in timeline.evidence["reason"]


@pytest.mark.parametrize(("examples", "right"), [(None, "early_generalization"), (8, "partial_generalization")])
def test_an_accuracy_counts_once_its_interval_clears_the_limit(examples, right):
    table = ordinary.recognizer(top=0.96)
    timeline = detect_phases(table, n_classes=10, heldout_examples=examples)
    assert timeline.verdict == right
    assert ("n = 8" in timeline.evidence["reason"]) is (examples == 8)


def test_a_fit_seen_between_two_validations_is_judged_by_the_next_one():
    steps = list(range(0, 2000, 10))
    train = [0.1 + 0.9 * (1 - 1 / (1 + (s / 150) ** 8)) for s in steps]
    heldout = {0: 0.1, 200: 0.3, 400: 0.97, **{s: 0.985 for s in range(600, 2000, 200)}}
    timeline = detect_phases(
        {"train_accuracy": (steps, train), "heldout_accuracy": (list(heldout), list(heldout.values()))}, n_classes=10
    )
    assert timeline.verdict == "early_generalization"


@pytest.mark.parametrize("epochs", [4, 6])
def test_an_epoch_sawtooth_has_no_breakthrough(epochs):
    stages = detect_phases(ordinary.sawtooth(epochs)).stages
    assert stages and "breakthrough" not in [stage.name for stage in stages]


def test_a_rise_of_a_solved_loss_is_no_collapse_of_the_shape(histories):
    table = ordinary.recognizer()
    table["train_loss"][-8:] = [0.05] * 8
    assert "collapse" not in [stage.name for stage in detect_phases(table).stages]


def test_accuracy_lost_after_it_was_solved_is_a_collapse_though_the_fit_stands(histories):
    timeline = detect_phases(histories.collapsing())
    assert timeline.verdict == "collapse" and timeline.evidence["because"][0]["rule"] == "lost"


def test_forgetting_comes_before_divergence(histories):
    timeline = detect_phases(histories.forgetting())
    assert (timeline.verdict, timeline.current) == ("collapse", "collapse")


def test_a_least_shuffled_loss_stands_for_the_null():
    table = ordinary.noise_regression()
    shuffled = [2.0, 1.4, *[1.1] * (len(table["step"]) - 2)]
    timeline = detect_phases({**table, "shuffled_loss": shuffled})
    assert timeline.evidence["null"]["loss"]["value"] == 1.1 and timeline.verdict == "memorization_only"


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"n_classes": 1}, "must be 2 or more"),
        ({"null_loss": 0.0}, "over 0"),
        ({"null_loss": math.nan}, "over 0"),
        ({"null_error": 1.5}, "at most 1"),
        ({"heldout_examples": 0}, "1 or more"),
    ],
)
def test_facts_that_cannot_be_are_refused(facts, message):
    with pytest.raises(MetricsError, match=message):
        detect_phases(ordinary.overfit(), **facts)


def test_there_are_at_most_twenty_conditions():
    assert len(CONDITIONS) <= 20


def test_an_outcome_in_a_unit_of_its_own_leaves_the_train_loss_its_own_null():
    table = ordinary.overfit()
    wer = [0.4 + 0.6 * ordinary.fall(s, 60) for s in table["step"]]
    timeline = detect_phases({**table, "heldout_loss": wer}, outcome=StandIn("val/wer", "own_loss"), null_loss=1.0)
    clauses = {clause["rule"]: clause for clause in timeline.evidence["because"]}
    assert timeline.verdict == "partial_generalization"
    assert clauses["fitted"]["limit"] == pytest.approx(0.05 * table["train_loss"][0])
    assert clauses["learned"]["of"] == "val/wer" and clauses["learned"]["limit"] == pytest.approx(0.8)


def test_the_lesser_of_two_known_nulls_stands():
    table = ordinary.overfit()
    shuffled = [9.0] * len(table["step"])
    level = detect_phases({**table, "shuffled_loss": shuffled}, n_classes=4).evidence["null"]["loss"]
    assert (level["value"], level["source"]) == (pytest.approx(math.log(4)), "ln C, C = 4")


@pytest.mark.parametrize("facts", [{}, {"heldout_examples": 60}, {"null_error": 0.05}])
def test_the_grokking_step_is_that_of_the_accuracy_itself(histories, facts):
    table = histories.grokking()
    table["heldout_accuracy"] = [min(value, 0.967) for value in table["heldout_accuracy"]]
    first = next(s for s, value in zip(table["step"], table["heldout_accuracy"], strict=True) if value >= 0.95)
    assert detect_phases(table, n_classes=100, **facts).grokking_step == first


def test_the_null_of_loss_and_error_may_come_from_two_places():
    sources = {"loss": "of a file", "error": "of the probe"}
    timeline = detect_phases(ordinary.recognizer(), null_loss=2.3, null_error=0.9, null_source=sources)
    assert {kind: level["source"] for kind, level in timeline.evidence["null"].items()} == sources
