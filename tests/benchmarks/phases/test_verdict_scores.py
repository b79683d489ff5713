# SPDX-License-Identifier: Apache-2.0
"""Scores of runs that are made up: what is right of each is declared, what is said of it comes from the detector."""

import math
from dataclasses import replace

import numpy as np
import pytest
from phase_histories import build, fall, overfit
from scoring import judged
from scoring.alarm_scores import score_alarms
from scoring.judged import LOSSES, JudgedRun
from scoring.verdict_card import verdict_cards
from scoring.verdict_scores import score_verdicts

from lightning_interp.phases.detector import follow

CLASSES = 100
STEPS = np.unique(np.concatenate([[0], np.geomspace(1, 20_000, 250).round()])).astype(int)


def run(name, *, grok=None, part="calibration", configuration=None, right=None):
    """A run that groks at a step or memorizes for ever, and what is held to be right of it."""
    table = build(
        STEPS.tolist(),
        train_loss=lambda s: 1e-6 + math.log(CLASSES) * fall(s, 150, 0.1),
        train_accuracy=lambda s: 1 - 0.99 * fall(s, 150, 0.05),
        heldout_loss=lambda s: overfit(s, 150, 15.0) * (fall(s, grok, 0.07) if grok else 1.0) + 1e-4,
        heldout_accuracy=lambda s: 1 - 0.99 * fall(s, grok, 0.05) if grok else 0.01,
        heldout_percentile_z=lambda s: 20 * (1 - fall(s, grok / 3, 0.3)) if grok else 0.5,
    )
    verdicts = frozenset({right or ("grokking" if grok else "memorization_only")})
    return JudgedRun(
        name=name,
        part=part,
        configuration=configuration or name,
        metrics={key: np.asarray(values, float) for key, values in table.items()},
        facts={"classes": CLASSES},
        right={"accuracies": verdicts, "losses": verdicts},
        borderline={"accuracies": False, "losses": False},
        late=grok is not None,
        quiet=grok is None,
        t_gen=grok,
    )


RUNS = [run("a0", grok=3000, configuration="a"), run("a1", grok=6000, configuration="a"), run("b")]


def of(scores, seen):
    return next(found for found in scores if found.seen == seen)


def test_clear_runs_are_right_by_run_and_by_configuration():
    found = of(score_verdicts(RUNS, ["classes"]), "all series")
    assert (found.right.runs.counted, found.right.configurations.counted) == ("3 of 3", "2 of 2")
    assert (found.false_grokking.runs.counted, found.formed.runs.counted) == ("0 of 1", "0 of 1")
    assert found.open_memorization.runs.counted == "0 of 2" and not found.wrong


def test_one_wrong_seed_makes_its_configuration_wrong_and_is_named():
    runs = [RUNS[0], replace(RUNS[1], right={"accuracies": frozenset({"overfitting"}), "losses": frozenset()}), RUNS[2]]
    found = of(score_verdicts(runs, ["classes"]), "all series")
    assert (found.right.runs.counted, found.right.configurations.counted) == ("2 of 3", "1 of 2")
    assert found.false_grokking.runs.counted == "1 of 2"
    assert found.wrong == (("a1", "overfitting", "grokking"),)


def test_borderline_runs_are_counted_apart():
    runs = [replace(RUNS[0], borderline={"accuracies": True, "losses": True}), RUNS[2]]
    found = of(score_verdicts(runs, ["none"]), "all series")
    assert (found.right.runs.counted, found.clear.runs.counted) == ("2 of 2", "1 of 1")


def test_verdicts_from_losses_are_held_against_their_own_label_and_left_out_if_there_is_none():
    runs = [replace(RUNS[0], right={"accuracies": frozenset({"grokking"})}), RUNS[2]]
    assert of(score_verdicts(runs, ["classes"]), "losses only").right.runs.counted.endswith("of 1")


def test_a_warning_counts_if_it_comes_before_generalization():
    found = of(score_alarms(RUNS, ["classes"]), "all series, four classes or more")
    assert (found.detected.runs.counted, found.false_alarms.runs.counted) == ("2 of 2", "0 of 1")
    assert 0 < found.lead < 1
    late = of(score_alarms([replace(RUNS[0], t_gen=1)], ["classes"]), "all series, four classes or more")
    assert late.detected.runs.counted == "0 of 1" and late.missed == ("a0",)


def test_a_warning_where_nothing_forms_is_false_and_named():
    found = of(score_alarms([replace(RUNS[0], late=False, quiet=True)], ["classes"]), "all series, four classes or more")
    assert found.false_alarms.runs.counted == "1 of 1" and found.falsely == ("a0",)


@pytest.mark.parametrize(("classes", "seen"), [(2, "all series, two or three classes"), (None, "all series, no classes")])
def test_runs_of_few_or_no_classes_are_scored_apart(classes, seen):
    scores = score_alarms([replace(RUNS[2], facts={"classes": classes})], ["none"])
    assert of(scores, seen).false_alarms.runs.counted.endswith("of 1")
    assert of(scores, "all series, four classes or more").false_alarms.runs.counted == "0 of 0"


def test_no_run_of_another_part_is_looked_at():
    class Untouchable(JudgedRun):
        def timeline(self, names, told):
            raise AssertionError(self.name)

    kept = RUNS[2]
    other = Untouchable(**{**vars(kept), "part": "ordinary_test", "name": "other"})
    assert list(verdict_cards([kept, other], parts=["calibration"], told=["none"])) == ["calibration"]
    with pytest.raises(AssertionError, match="other"):
        verdict_cards([kept, other], told=["none"])


@pytest.mark.parametrize(
    ("told", "given"),
    [("none", set()), ("classes", {"n_classes"}), ("null", {"n_classes", "null_loss", "null_error", "heldout_examples"})],
)
def test_a_detector_is_told_what_is_known_and_no_more(monkeypatch, told, given):
    seen = []

    def passing_on(history, **facts):
        seen.append(facts)
        return follow(history, **facts)

    monkeypatch.setattr(judged, "follow", passing_on)
    facts = {"classes": 5, "null_loss": 1.6, "null_error": 0.8, "heldout_examples": 9}
    found = replace(RUNS[2], facts=facts).timeline(LOSSES, told)
    assert set(seen[0]) == given
    assert (found.evidence["null"]["loss"]["value"] == 1.6) is (told == "null")


def test_unseen_parts_are_also_scored_together():
    cards = verdict_cards([run("u", part="unseen_task"), run("v", part="unseen_seed")], told=["none"])
    assert list(cards) == ["unseen_task", "unseen_seed", "test"] and cards["test"].configurations == 2
