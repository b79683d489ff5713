# SPDX-License-Identifier: Apache-2.0
"""What happened in a run, from its recorded metrics alone: never from a name, a configuration or a detector.

The rules are those of an independent replication of Nanda et al. 2023 over ten seeds (memorization ends where the excluded
loss is least, cleanup begins where the held-out loss falls under ln C, and ends at 99 % held-out accuracy) and the usual
definitions of fitting and grokking. All of them look at the whole run; nothing here is causal.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["grokking", "early_generalization", "collapse", "partial", "memorization_only", "not_fitted", "diverged"]
Series = NDArray[np.float64]

FITTED, GENERALIZED, CLEANED_UP = 0.99, 0.95, 0.99
SUSTAINED = 3
"""Evaluations in a row that a condition must hold."""
EARLY = 2.0
"""Generalization before this many times the memorization step is early."""
COLLAPSE_DROP = 0.2
OFF_PEAK = 0.1
LEARNABLE = 0.5
"""Most of the answers that may differ from the task's own."""


@dataclass(frozen=True)
class Label:
    """What happened, and when.

    Attributes:
        kind: What the run came to within its budget.
        t_mem: First of three evaluations with a train accuracy of 99 % or more, None where there is none.
        t_grok: First of three evaluations with a held-out accuracy of 95 % or more.
        t_grok_first: First single one.
        t_formation: End of memorization: least excluded loss after the fit where it is known, else greatest held-out loss.
        t_cleanup: First of three evaluations with a held-out loss under ln C.
        t_converged: First of three evaluations with a held-out accuracy of 99 % or more.
        censored: Whether it might have generalized later: its answers can be learned, and it only memorized so far.
    """

    kind: Kind
    t_mem: int | None
    t_grok: int | None
    t_grok_first: int | None
    t_formation: int | None
    t_cleanup: int | None
    t_converged: int | None
    censored: bool


def label(metrics: Mapping[str, Series], *, classes: int, answers_shuffled: float) -> Label:
    """Label one run.

    Args:
        metrics: Columns of the run with `step`, `train_loss`, `train_accuracy`, `heldout_loss`, `heldout_accuracy`, and
            `excluded_loss_max` where the task is a group's; nan where there is no value.
        classes: Number of classes, C.
        answers_shuffled: Share of the answers that differ from the task's own, counted when the data was made.
    """
    step, accuracy = metrics["step"], metrics["heldout_accuracy"]
    fitted = metrics["train_accuracy"] >= FITTED
    t_mem = _first(step, fitted, SUSTAINED)
    t_grok = _first(step, accuracy >= GENERALIZED, SUSTAINED)
    t_cleanup = _first(step, metrics["heldout_loss"] < math.log(classes), SUSTAINED, after=t_mem)
    kind = _kind(metrics, t_mem, t_grok)
    return Label(
        kind=kind,
        t_mem=t_mem,
        t_grok=t_grok,
        t_grok_first=_first(step, accuracy >= GENERALIZED, 1),
        t_formation=_formation(metrics, t_mem, t_cleanup) if kind in ("grokking", "collapse", "partial") else None,
        t_cleanup=t_cleanup if kind in ("grokking", "collapse") else None,
        t_converged=_first(step, accuracy >= CLEANED_UP, SUSTAINED),
        censored=kind == "memorization_only" and answers_shuffled < LEARNABLE,
    )


def _kind(metrics: Mapping[str, Series], t_mem: int | None, t_grok: int | None) -> Kind:
    train, heldout, accuracy = metrics["train_loss"], metrics["heldout_loss"], metrics["heldout_accuracy"]
    if not np.isfinite(train[-1]) or train[-1] > 2 * train[0]:
        return "diverged"
    if t_grok is not None:
        if np.median(accuracy[-SUSTAINED:]) <= np.max(accuracy) - COLLAPSE_DROP:
            return "collapse"
        return "early_generalization" if t_mem is None or t_grok < EARLY * t_mem else "grokking"
    if t_mem is None:
        return "not_fitted"
    is_partial = np.max(heldout[-SUSTAINED:]) <= (1 - OFF_PEAK) * np.max(heldout)
    return "partial" if is_partial else "memorization_only"


def _formation(metrics: Mapping[str, Series], t_mem: int | None, t_cleanup: int | None) -> int | None:
    """Where memorization ended; looked for after the fit and before the held-out loss is under chance."""
    if t_mem is None:
        return None
    step = metrics["step"]
    within = (step >= t_mem) & (step <= (t_cleanup if t_cleanup is not None else step[-1]))
    excluded = metrics.get("excluded_loss_max")
    if excluded is not None and np.isfinite(excluded[within]).all():
        return int(step[within][np.argmin(excluded[within])])
    return int(step[within][np.argmax(metrics["heldout_loss"][within])])


def _first(step: Series, holds: NDArray[np.bool_], times: int, *, after: int | None = None) -> int | None:
    """First step of so many evaluations in a row at which it holds."""
    run = 0
    for index, held in enumerate(holds & (step >= (after or 0))):
        run = run + 1 if held else 0
        if run == times:
            return int(step[index - times + 1])
    return None
