# SPDX-License-Identifier: Apache-2.0
"""Sentences made from evidence: every number in them is one that was compared. Plain values in, words out."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_interp.core.timeline import Clause
from lightning_interp.phases.null_levels import LEAST_ERROR

Evidence = Mapping[str, Any]

SENTENCES = {
    "diverged": "Training diverged: {diverging}.",
    "diverged/nonfinite": "Training diverged: the loss is not a finite number at the end.",
    "unknown/few_points": "Too short for a verdict: {points}.",
    "unknown/no_train": (
        "No verdict: there is no train loss or train accuracy, so when the training set was fitted is not known."
    ),
    "unknown/no_heldout": (
        "Fitted the training set ({fitted}). There is no held-out data, so nothing is known of generalization."
    ),
    "unknown/no_shares": (
        "No verdict: the loss goes below 0, or is 0 throughout, so it cannot be told as a share of what a constant "
        "predictor gets. Log an accuracy, or name another outcome."
    ),
    "unknown/few_validations": (
        "Fitted the training set ({fitted}); {learned}. No verdict on held-out data yet: {validations}."
    ),
    "unknown/begins_late": (
        "No verdict: the log begins deep in training and the loss of a constant predictor is not known, so what has been "
        "learned cannot be told from it."
    ),
    "collapse": "Had learned and lost it again: {lost}; {unlearned}.",
    "collapse/heldout_only": "Had solved held-out data and lost it again: {lost}.",
    "grokking": (
        "Memorized at step {t_mem} ({unknown_at_fit}; {null}), solved held-out data at step {t_gen} ({generalized}), "
        "{ratio} times as late or later, and kept it: grokking."
    ),
    "early_generalization": (
        "Generalized about when it fitted the training set (step {t_mem}; {at_fit}), solved at step {t_gen} "
        "({generalized}): learning without grokking."
    ),
    "early_generalization/unfitted": (
        "Solved held-out data at step {t_gen} ({generalized}; {null}) without fitting the training set to the last example: "
        "learning without grokking."
    ),
    "overfitting": (
        "{Heldout_loss} was least at step {least_step} ({least}) and is {times} times that now, while the train loss fell "
        "on: overfitting.{learned_too} The weights of step {least_step} had the best {heldout_loss}."
    ),
    "not_fitted": "The training set is not fitted: {fitted}. {now}",
    "not_fitted/fit_just_begun": (
        "The training set has only just come to be fitted ({fitted}), which takes three evaluations in a row. {now}"
    ),
    "not_fitted/fit_lost": (
        "The training set is not fitted any more: {fitted}. It was, at steps {fit_from} to {fit_to}. {now}"
    ),
    "partial_generalization": (
        "Fitted the training set ({fitted}); held-out data is learned in part: {learned}; {generalized}.{solved_once}"
    ),
    "memorization_only": (
        "Fitted the training set ({fitted}); held-out data is hardly better known than by a constant answer, if at all, "
        "so far: {learned}; {null}."
    ),
}
"""One sentence for each verdict, or each way to one."""

MEANINGS = {
    "warm_up": "the loss has not started to fall",
    "fitting": "the train loss is falling",
    "memorization": "the training set is fitted, held-out data is not",
    "circuit_formation": "a circuit that generalizes is growing",
    "cleanup": "held-out data is better than a constant answer, and memorized structure is being removed",
    "converged": "held-out loss, held-out accuracy and weight norm stand still",
    "collapse": "what was learned is being lost",
    "overfitting": "the held-out loss rises while the train loss falls",
}
"""What each phase means, as the rest of a sentence."""


def reason(verdict: str, why: str, evidence: Evidence) -> str:
    """The sentence on a verdict.

    Args:
        verdict: Its name.
        why: Which way to it, or empty.
        evidence: What `evidence.evidence` gathers; sentences name only what is in it.
    """
    sentence = SENTENCES[f"{verdict}/{why}" if why else verdict].format_map(_Parts(evidence))
    return f"{sentence}{_estimated(evidence)}"


def clause_text(clause: Clause) -> str:
    """One comparison in words.

    >>> clause_text({"of": "train loss", "value": 0.012, "relation": "<=", "limit": 0.05, "holds": True})
    'train loss 0.012, at most 0.05'
    >>> clause_text({"of": "train accuracy", "value": 0.875, "relation": ">=", "limit": 0.99, "holds": False,
    ...              "limit_is": "what counts as fitted"})
    'train accuracy 0.875, under 0.99 (what counts as fitted)'
    >>> clause_text({"of": "held-out accuracy", "value": 0.96, "relation": ">=", "limit": 0.95, "holds": False,
    ...              "examples": 80, "interval": [0.932, 0.977]})
    'held-out accuracy 0.96 (n = 80: 0.932 to 0.977), not surely at least 0.95'
    """
    if "says" in clause:
        return f"{clause['of']} {clause['says']} at step {clause['step']:,}"
    least, holds = clause["relation"] == ">=", bool(clause.get("holds", True))
    meets = clause["value"] >= clause["limit"] if least else clause["value"] <= clause["limit"]
    words = {(True, True): "at least", (True, False): "under", (False, True): "at most", (False, False): "over"}
    side = words[least, meets] if holds is meets else f"not surely {words[least, True]}"
    means = f" ({clause['limit_is']})" if clause.get("limit_is") else ""
    return f"{clause['of']} {_number(clause['value'])}{_sample(clause)}, {side} {_number(clause['limit'])}{means}"


def because_text(because: Sequence[Clause]) -> str:
    """Several comparisons in words; empty if there is none."""
    return "; ".join(clause_text(clause) for clause in because)


def _sample(clause: Clause) -> str:
    if not clause.get("examples") or not clause.get("interval"):
        return ""
    low, high = clause["interval"]
    return f" (n = {clause['examples']:,}: {_number(low)} to {_number(high)})"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def asks_for_null(evidence: Evidence) -> bool:
    """Whether the verdict rests on a null that is only estimated, and another one could change it."""
    levels, rests_on = evidence.get("null"), evidence.get("verdict_rests_on")
    level = levels.get(rests_on) if isinstance(levels, Mapping) else None  # a stranger's file may hold anything here
    if not isinstance(level, Mapping) or level.get("known"):
        return False
    value = level.get("value")
    return rests_on == "loss" or (isinstance(value, int | float) and value <= LEAST_ERROR)


def _estimated(evidence: Evidence) -> str:
    """What to give if the verdict rests on a level that is only estimated."""
    if not asks_for_null(evidence):
        return ""
    level = evidence["null"][evidence["verdict_rests_on"]]
    if outcome := evidence.get("outcome"):
        return f" What a constant answer gets as {outcome} is not known; give the null of the outcome to be sure."
    if evidence["verdict_rests_on"] == "error":
        return _PRIOR
    loss = level
    return (
        f" The loss of a constant predictor is not known; {loss['source']} ({_number(loss['value'])}) stands for it. Give "
        "the number of classes or the null loss to be sure."
    )


def _upper(text: str) -> str:
    """The beginning of a sentence; a name of the user's stays as it is."""
    return f"H{text[1:]}" if text.startswith("held-out ") else text


_PRIOR = (
    " What a constant answer gets right is not known, and accuracy was never under a half: if one class is much commoner "
    "than the others, give the null error to be sure."
)


class _Parts(dict[str, str]):
    """Parts of sentences by name: the comparisons of a rule, or a number of the evidence."""

    def __init__(self, evidence: Evidence) -> None:
        super().__init__()
        self._evidence = evidence

    def __missing__(self, key: str) -> str:
        made = getattr(self, f"_{key}", None)
        if made is not None:
            return str(made())
        told = [clause for clause in self._evidence["because"] if clause["rule"] == key]
        if told or key not in self._evidence:
            return because_text(told)
        value = self._evidence[key]
        return "?" if value is None else _number(value)

    def _clause(self, rule: str) -> Clause | None:
        return next((clause for clause in self._evidence["because"] if clause["rule"] == rule), None)

    def _ratio(self) -> str:
        late = self._clause("late")
        return "?" if late is None else _number(float(late["value"]))

    def _at_fit(self) -> str:
        seen = self._clause("unknown_at_fit")
        return "held-out data then not logged" if seen is None else f"{seen['of']} {_number(seen['value'])}"

    def _null(self) -> str:
        kind = "error" if self._evidence["judged_by"] == "accuracy" else "loss"
        level = self._evidence["null"][kind]
        value = 1 - level["value"] if kind == "error" else level["value"]
        return f"a constant answer gets {_number(value)}"

    def _heldout_loss(self) -> str:
        return str(self._evidence.get("loss_words", "held-out loss"))

    def _Heldout_loss(self) -> str:  # noqa: N802 - as it begins a sentence
        return _upper(self._heldout_loss())

    def _least(self) -> str:
        return _number(self._evidence["least_heldout_loss"]["value"])

    def _least_step(self) -> str:
        return _number(self._evidence["least_heldout_loss"]["step"])

    def _times(self) -> str:
        risen = self._clause("risen")
        return "?" if risen is None else _number(risen["value"] / max(self._evidence["least_heldout_loss"]["value"], 1e-300))

    def _learned_too(self) -> str:
        learned = self._clause("learned")
        return "" if learned is None else f" Still {clause_text(learned)}."

    def _now(self) -> str:
        parts = [f"{name} {_number(value)}" for name, value in self._evidence["heldout_now"].items()]
        return f"{_upper(', '.join(parts))}; {self._null()}." if parts else ""

    def _solved_once(self) -> str:
        step = self._evidence["t_gen"]
        return "" if step is None else f" It was solved at step {step:,} and is not any more."
