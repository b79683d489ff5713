# SPDX-License-Identifier: Apache-2.0
"""One labelled run, as everything that scores detectors sees it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scoring.labels import Label, Series, label

LOSSES = ("train_loss", "heldout_loss")


@dataclass(frozen=True)
class ScoredRun:
    """A run whose whole course is known.

    Attributes:
        name: Names it in tables; nothing is read from it.
        part: Part of the pool, such as ``calibration`` or ``unseen_task``.
        classes: Number of classes.
        weight_decay: Only splits the tables; no detector sees it.
        metrics: Columns of equal length by record name, ``step`` among them, NaN if there was no value.
        label: What happened.
        cross_entropy: Whether the losses on record, which are cross-entropies, are what was trained.
    """

    name: str
    part: str
    classes: int
    weight_decay: float
    metrics: Mapping[str, Series]
    label: Label
    cross_entropy: bool = True

    @classmethod
    def of(cls, facts: Mapping[str, Any], metrics: Mapping[str, Series]) -> "ScoredRun":
        """A recorded run with its label.

        Args:
            facts: ``name``, ``part``, ``classes``, ``weight_decay``, and ``answers_shuffled`` and ``cross_entropy`` for the
                label.
            metrics: Its columns.
        """
        found = label(
            metrics,
            classes=facts["classes"],
            answers_shuffled=facts["answers_shuffled"],
            cross_entropy=facts["cross_entropy"],
        )
        trained = facts["cross_entropy"]
        return cls(facts["name"], facts["part"], facts["classes"], facts["weight_decay"], metrics, found, trained)

    def with_only(self, names: Collection[str]) -> "ScoredRun":
        """The same run, and the same label, with some of its columns alone."""
        return replace(self, metrics={name: column for name, column in self.metrics.items() if name in names})

    def history(self) -> dict[str, tuple[list[int], list[float]]]:
        """Steps and values by record name, as the detector takes them."""
        return history_of(self.metrics)

    @property
    def positive(self) -> bool:
        """Whether it memorized first and generalized later, to keep it or not."""
        return self.label.late

    @property
    def negative(self) -> bool:
        """Whether there was no generalization, and none to come: nothing to learn, or training destroyed."""
        found = self.label
        return found.t_grok is None and not found.censored and found.kind != "partial"

    @property
    def budget(self) -> int:
        """Last recorded step."""
        return int(self.metrics["step"][-1])


def history_of(metrics: Mapping[str, Series]) -> dict[str, tuple[list[int], list[float]]]:
    """Steps and values by record name, as the detector takes them.

    A loss is on record at every step unless it was not finite: a gap in one is told to the detector as NaN.
    """
    steps, found = metrics["step"], {}
    for name, column in metrics.items():
        kept = np.ones(len(steps), bool) if name in LOSSES else np.isfinite(column)
        if name != "step" and np.isfinite(column).any():
            found[name] = steps[kept].astype(int).tolist(), column[kept].tolist()
    return found
