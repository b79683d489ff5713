# SPDX-License-Identifier: Apache-2.0
"""How sure the rules are of a phase: a score that grows with the evidence which agrees, at most .6 from losses alone."""

from lightning_interp.phases.run_state import RunState

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
    "overfitting": 0.7,
}
WEIGHTS = {
    "circuit_formation": {"improved": 0.2, "percentile": 0.2, "excluded": 0.2},
    "cleanup": {"rank_falling": 0.1, "gini_rising": 0.1, "generalized": 0.1},
}


def confidence(name: str, state: RunState) -> float:
    """Score in [0, 1] of a phase that begins now.

    A condition that agrees adds its weight; one that could be judged and does not agree takes off half of it.
    """
    score = BASE[name] + (0.2 if state.observed["heldout_accuracy"] and name not in WEIGHTS else 0.0)
    for condition, weight in WEIGHTS.get(name, {}).items():
        if state[condition].tried:
            score += weight if state.on(condition) else -weight / 2
    return round(min(score, LOSSES_ONLY_CAP if state.observed.losses_only else CAP), 3)
