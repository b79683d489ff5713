# SPDX-License-Identifier: Apache-2.0
"""Why the detector says what it says, as plain JSON values: comparisons, levels, steps, series present and absent."""

import math
from typing import Any

from lightning_interp.phases.confidence import LOSSES_ONLY_CAP
from lightning_interp.phases.early_warning import EarlyWarning
from lightning_interp.phases.early_warning_scores import MEASURED
from lightning_interp.phases.null_levels import NullLevel, null_error, null_loss
from lightning_interp.phases.run_series import CURVES, SUPPORT, RunSeries
from lightning_interp.phases.run_state import CONDITIONS, Milestone, RunState
from lightning_interp.phases.verdict import MIN_POINTS, Verdict
from lightning_interp.phases.wording import reason


def evidence(found: Verdict, state: RunState, warning: EarlyWarning) -> dict[str, Any]:
    """Everything a reader needs to check the verdict by hand.

    Returns:
        ``reason`` (a sentence made from the rest), ``because`` (the comparisons that decided the verdict), ``points``,
        ``t_mem``, ``t_gen``, ``grokking_step`` (steps or None) and intervals of the first two, ``null`` (level of a constant
        predictor as loss and error, its source, whether it is known), ``judged_by`` (accuracy or loss), ``conditions`` (each
        that could be judged, with the step since which it first held, and its latest comparisons), ``series`` (present,
        absent), ``unknown`` (sentences), ``confidence_cap`` (.6 with losses only, else None), ``early_warning`` (its score,
        what it rests on, and how that did on runs it had not seen).
    """
    observed = state.observed
    data: dict[str, Any] = {
        "reason": "",
        "because": list(found.because),
        "why": found.why,
        "points": observed.points,
        "judged_by": "accuracy" if observed.is_error(observed.outcome or observed.fit) else "loss",
        "verdict_rests_on": _rests_on(found, observed),
        "outcome": None if observed.facts.outcome is None else observed.facts.outcome.name,
        "loss_words": observed.facts.loss_words,
        **_steps(state),
        **_levels(state),
        "conditions": _conditions(state),
        "series": {
            "present": [name for name in (*CURVES, *SUPPORT) if observed[name].steps],
            "absent": [name for name in (*CURVES, *SUPPORT) if not observed[name].steps],
        },
        "unknown": _unknown(observed),
        "confidence_cap": LOSSES_ONLY_CAP if observed.losses_only else None,
        "early_warning": {
            "score": round(warning.score, 4),
            "source": warning.source,
            "measured": MEASURED.get(warning.source or ""),
        },
    }
    return data | {"reason": reason(found.name, found.why, data)}


def _rests_on(found: Verdict, observed: RunSeries) -> str | None:
    """Which null the verdict is a share of: of the error, of the loss, or none."""
    if not observed.fit or found.name == "unknown" or found.why == "nonfinite":
        return None
    return "error" if observed.is_error(observed.outcome or observed.fit) else "loss"


def _steps(state: RunState) -> dict[str, Any]:
    """Steps at which the run turned."""

    def of(milestone: Milestone | None) -> tuple[int | None, list[int] | None]:
        return (None, None) if milestone is None else (milestone.step, list(milestone.interval))

    (t_mem, mem_in), (t_gen, gen_in) = of(state.t_mem), of(state.t_gen)
    fitted = state["fitted"]
    return {
        "t_mem": t_mem,
        "t_mem_interval": mem_in,
        "t_gen": t_gen,
        "t_gen_interval": gen_in,
        "grokking_step": state.grokking_step,
        "fit_from": fitted.first_since,
        "fit_to": fitted.last,
    }


def _levels(state: RunState) -> dict[str, Any]:
    """Levels of a constant predictor, and those the held-out curves have or had."""
    observed, levels = state.observed, {}
    if observed["train_loss"] or observed["heldout_loss"]:
        levels["loss"] = _plain(null_loss(observed, "heldout_loss" if observed["heldout_loss"] else "train_loss"))
    if observed["train_error"] or observed["heldout_error"]:
        levels["error"] = _plain(null_error(observed))
    facts = observed.facts
    now = {facts.accuracy_words: observed["heldout_accuracy"], facts.loss_words: observed["heldout_loss"]}
    data: dict[str, Any] = {
        "null": levels,
        "heldout_now": {name: series.recent for name, series in now.items() if series},
        "least_heldout_loss": None,
    }
    if math.isfinite(state.best.heldout_loss):
        data["least_heldout_loss"] = {"step": state.best.heldout_step, "value": state.best.heldout_loss}
    if observed.heldout:
        curve = observed.heldout
        peak = max(range(len(curve.values)), key=curve.values.__getitem__)
        data["chance"] = _plain(observed.null(curve))
        data["heldout_peak"] = {"step": curve.steps[peak], "value": curve.values[peak]}
        data["heldout_curve"] = "loss" if observed["heldout_loss"] else "error"
    return data


def _plain(level: NullLevel) -> dict[str, Any]:
    return {"value": level.value, "source": level.source, "known": level.known}


def _conditions(state: RunState) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "means": CONDITIONS[name],
            "holds": streak.on,
            "first_held": streak.first_since,
            "latest": list(state.clauses(name)),
        }
        for name, streak in state.streaks.items()
        if streak.tried
    }


def _unknown(observed: RunSeries) -> list[str]:
    """What cannot be judged, and which series would tell."""
    checks = (
        (observed.points < MIN_POINTS, f"Fewer than {MIN_POINTS} records hold a loss or an accuracy: no verdict yet."),
        (not observed.train, "No train loss or train accuracy: when the training set was fitted is not known."),
        (
            not observed.heldout,
            "No held-out data: whether the network generalizes, and any circuit formation, is not known.",
        ),
        (
            bool(observed.heldout) and not observed["heldout_accuracy"],
            "No held-out accuracy: generalization is judged by the loss, and there is no grokking_step.",
        ),
        (
            observed.losses_only and bool(observed.heldout),
            "Losses alone: no early warning is raised, because nothing in them foretells generalization.",
        ),
        (
            bool(observed["heldout_loss"]) and not null_loss(observed, "heldout_loss").known,
            "The loss of a constant predictor: its place is taken by the first record.",
        ),
    )
    return [sentence for applies, sentence in checks if applies]
