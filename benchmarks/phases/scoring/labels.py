# SPDX-License-Identifier: Apache-2.0
"""What happened in a run, from its recorded metrics alone: never from a name, a configuration or a detector.

The rules are those of an independent replication of Nanda et al. 2023 over ten seeds (memorization ends where the excluded
loss is least, cleanup begins where the held-out loss falls under ln C, and ends at 99 % held-out accuracy) and the usual
definitions of fitting and grokking. All of them look at the whole run; nothing here is causal. Values that were not recorded
are passed over.
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
"""Records in a row that a condition must hold, and whose median is the end of a run."""
LATE = 2.0
"""Generalization from this many times the memorization step on is grokking, before it is early."""
COLLAPSE_DROP = 0.2
OFF_PEAK = 0.1
ABOVE_CHANCE = 1.5
"""Held-out accuracy in units of 1 / C from which something was learned."""
LEARNABLE = 0.5
"""Most of the answers, as a share of what a full shuffle changes, that may differ from the task's own."""


@dataclass(frozen=True)
class Label:
    """What happened, and when, in optimizer steps.

    Attributes:
        kind: What the run came to within its budget.
        t_mem: First of three records with a train accuracy of 99 % or more, or None if there is none.
        t_grok: First of three records with a held-out accuracy of 95 % or more.
        t_grok_first: First single one.
        t_formation: End of memorization: least excluded loss after the fit where that has a minimum, else greatest held-out
            loss.
        formation_by: Which of the two series that was.
        t_cleanup: First of three records with a held-out loss under ln C after the fit.
        t_converged: First of three records with a held-out accuracy of 99 % or more.
        censored: Whether it might have generalized later: its answers can be learned, and within its budget they were not.
    """

    kind: Kind
    t_mem: int | None
    t_grok: int | None
    t_grok_first: int | None
    t_formation: int | None
    formation_by: str | None
    t_cleanup: int | None
    t_converged: int | None
    censored: bool

    @property
    def late(self) -> bool:
        """Whether it memorized first and generalized later, whatever came then."""
        return self.t_mem is not None and self.t_grok is not None and self.t_grok >= LATE * self.t_mem


def label(metrics: Mapping[str, Series], *, classes: int, answers_shuffled: float, cross_entropy: bool = True) -> Label:
    """Label one run.

    Args:
        metrics: Columns of the run with `step`, `train_loss`, `train_accuracy`, `heldout_loss`, `heldout_accuracy`, and
            `excluded_loss` if the task is a group's; NaN if there is no value.
        classes: Number of classes, C.
        answers_shuffled: Share of the answers that differ from the task's own, counted when the data was made.
        cross_entropy: Whether that is what was trained; else the losses, which are cross-entropies, mark no boundaries.
    """
    step, accuracy = metrics["step"], metrics["heldout_accuracy"]
    learnable = answers_shuffled < LEARNABLE * (1 - 1 / classes)
    t_mem = _first(step, metrics["train_accuracy"] >= FITTED, SUSTAINED)
    t_grok = _first(step, accuracy >= GENERALIZED, SUSTAINED)
    kind = _kind(metrics, t_mem, t_grok, learnable=learnable, classes=classes)
    t_cleanup = None
    formation: tuple[int | None, str | None] = None, None
    if cross_entropy and t_mem is not None and kind in ("grokking", "collapse", "partial"):
        under = metrics["heldout_loss"] < math.log(classes)
        t_cleanup = _first(step, under, SUSTAINED, after=t_mem)
        formation = _formation(metrics, t_mem, t_cleanup)
    return Label(
        kind=kind,
        t_mem=t_mem,
        t_grok=t_grok,
        t_grok_first=_first(step, accuracy >= GENERALIZED, 1),
        t_formation=formation[0],
        formation_by=formation[1],
        t_cleanup=t_cleanup,
        t_converged=_first(step, accuracy >= CLEANED_UP, SUSTAINED),
        censored=learnable and t_grok is None and kind in ("memorization_only", "not_fitted"),
    )


def _kind(metrics: Mapping[str, Series], t_mem: int | None, t_grok: int | None, *, learnable: bool, classes: int) -> Kind:
    train, accuracy = metrics["train_loss"], _known(metrics["heldout_accuracy"])
    if not np.isfinite(train[-1]) or _end(train) > 2 * train[0]:
        return "diverged"
    if t_grok is not None:
        if _end(accuracy) <= accuracy.max() - COLLAPSE_DROP:
            return "collapse"
        return "early_generalization" if t_mem is None or t_grok < LATE * t_mem else "grokking"
    if t_mem is None:
        return "not_fitted"
    since = _known(metrics["heldout_loss"][metrics["step"] >= t_mem])
    off_peak = len(since) > 0 and since[-SUSTAINED:].max() <= (1 - OFF_PEAK) * since.max()
    return "partial" if learnable and off_peak and _end(accuracy) > ABOVE_CHANCE / classes else "memorization_only"


def _formation(metrics: Mapping[str, Series], t_mem: int, t_cleanup: int | None) -> tuple[int, str]:
    """Where memorization ended; looked for after the fit and before the held-out loss is under chance."""
    step = metrics["step"]
    within = (step >= t_mem) & (step <= (t_cleanup if t_cleanup is not None else step[-1]))
    excluded = metrics.get("excluded_loss")
    if excluded is not None and np.isfinite(excluded[within]).all():
        at = int(np.argmin(excluded[within]))
        if 0 < at < within.sum() - 1:  # at an edge it is no minimum: decay lowers every train loss
            return int(step[within][at]), "excluded_loss"
    return int(step[within][np.nanargmax(metrics["heldout_loss"][within])]), "heldout_loss"


def _first(step: Series, holds: NDArray[np.bool_], times: int, *, after: int = 0) -> int | None:
    """First step of so many records in a row at which it holds."""
    first = first_run(holds & (step >= after), times)
    return None if first is None else int(step[first])


def first_run(holds: NDArray[np.bool_], times: int) -> int | None:
    """Index at which the first run of so many true values begins, or None if there is none."""
    run = 0
    for index, held in enumerate(holds):
        run = run + 1 if held else 0
        if run == times:
            return index - times + 1
    return None


def _known(values: Series) -> Series:
    known: Series = values[np.isfinite(values)]
    return known if len(known) else np.zeros(1)


def _end(values: Series) -> float:
    """Median of the latest records."""
    return float(np.median(_known(values)[-SUSTAINED:]))
