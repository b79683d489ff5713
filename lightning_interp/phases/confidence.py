# SPDX-License-Identifier: Apache-2.0
"""How sure the rules are of a phase: a score that grows with the evidence which agrees, at most .6 from losses alone."""

from lightning_interp.phases.rules import Rules
from lightning_interp.phases.run_series import RunSeries

LOSSES_ONLY_CAP = 0.6
CAP = 0.95

BASE = {
    "warm_up": 0.7,
    "fitting": 0.8,
    "memorization": 0.7,
    "circuit_formation": 0.5,
    "cleanup": 0.6,
    "converged": 0.6,
    "collapse": 0.7,
}
WEIGHTS = {
    "circuit_formation": {"percentile": 0.3, "excluded": 0.2, "norm_falling": 0.05},
    "cleanup": {"norm_steeper": 0.1, "rank_falling": 0.1, "gini_rising": 0.1, "generalized": 0.05},
}


def confidence(name: str, observed: RunSeries, rules: Rules) -> float:
    """Score in [0, 1] of a phase that begins now.

    Args:
        name: The phase.
        observed: What is logged: without held-out data a memorization scores .3, since nothing tells it from learning.
        rules: A condition that agrees adds its weight; one that could be judged and does not agree takes off half of it.
    """
    if name == "memorization" and not observed.heldout:
        return 0.3
    score = BASE[name] + (0.2 if observed["heldout_accuracy"] and name not in WEIGHTS else 0.0)
    for condition, weight in WEIGHTS.get(name, {}).items():
        if rules[condition].tried:
            score += weight if rules.on(condition) else -weight / 2
    return round(min(score, LOSSES_ONLY_CAP if observed.losses_only else CAP), 3)
