# SPDX-License-Identifier: Apache-2.0
"""Why the detector says what it says, as plain JSON values: levels, steps, conditions, series present and absent."""

from typing import Any

from lightning_interp.phases.confidence import LOSSES_ONLY_CAP
from lightning_interp.phases.early_warning import EarlyWarning
from lightning_interp.phases.early_warning_scores import MEASURED
from lightning_interp.phases.rules import CONDITIONS, Rules
from lightning_interp.phases.run_series import CURVES, SUPPORT, RunSeries
from lightning_interp.phases.verdict import MIN_POINTS, SENTENCES, Milestones


def evidence(
    verdict: str, observed: RunSeries, rules: Rules, milestones: Milestones, warning: EarlyWarning
) -> dict[str, Any]:
    """Everything a reader needs to check the verdict by hand.

    Returns:
        ``reason`` (a sentence), ``points``, ``t_mem``, ``t_gen``, ``grokking_step`` (steps or None), ``chance`` and
        ``heldout_peak`` (values with step or source, where there is held-out data), ``conditions`` (each that could be
        judged, with the step since which it first held), ``series`` (present, absent), ``unknown`` (sentences),
        ``confidence_cap`` (.6 with losses only, else None), ``early_warning`` (its score, what it rests on, and how that
        did on runs it had not seen).
    """
    data: dict[str, Any] = {
        "reason": SENTENCES[verdict],
        "points": observed.points,
        "t_mem": milestones.t_mem,
        "t_gen": milestones.t_gen,
        "grokking_step": milestones.grokking_step,
        "conditions": _conditions(rules),
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
    if observed.heldout:
        data |= _levels(observed)
    return data


def _conditions(rules: Rules) -> dict[str, dict[str, Any]]:
    return {
        name: {"means": CONDITIONS[name], "holds": streak.on, "first_held": streak.first_since}
        for name, streak in rules.streaks.items()
        if streak.tried
    }


def _levels(observed: RunSeries) -> dict[str, Any]:
    value, source = observed.chance()
    curve = observed.heldout
    peak = max(range(len(curve.values)), key=curve.values.__getitem__)
    return {
        "chance": {"value": value, "source": source},
        "turning_level": observed.turning_level,
        "heldout_peak": {"step": curve.steps[peak], "value": curve.values[peak]},
        "heldout_curve": "loss" if observed["heldout_loss"] else "error",
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
            bool(observed.heldout) and not any(observed[name] for name in SUPPORT),
            "No percentile, weight norm, rank, Gini or excluded loss: circuit formation and cleanup rest on the "
            "held-out curve alone, and regularization can lower that without a circuit.",
        ),
        (
            bool(observed.heldout) and observed.n_classes is None,
            "Number of classes not given: chance is the first held-out value.",
        ),
    )
    return [sentence for applies, sentence in checks if applies]
