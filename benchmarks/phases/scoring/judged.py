# SPDX-License-Identifier: Apache-2.0
"""One run with the verdicts that are right for it, whichever pool it is from, and what the detector says of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pool_file import PoolEntry
from scoring.configurations import configuration_of
from scoring.labels import Series
from scoring.ordinary_labels import View, ordinary_label
from scoring.runs import ScoredRun, history_of

from lightning_interp.core.timeline import Timeline
from lightning_interp.phases.detector import follow

Told = Literal["none", "classes", "null"]
TOLD: tuple[Told, ...] = ("null", "classes", "none")
"""What the detector is told beside the series: what the monitor found, the number of classes alone, or nothing."""
NULL_FACTS = ("null_loss", "null_error", "heldout_examples")
VERDICT_OF = {"partial": "partial_generalization"}
"""Verdicts that are called otherwise than the kind of run they mean."""
LOSSES = frozenset({"step", "train_loss", "heldout_loss"})
CURVES = LOSSES | {"train_accuracy", "heldout_accuracy"}
NEEDS_ANSWERS = frozenset(
    {"heldout_loss", "heldout_accuracy", "heldout_percentile", "heldout_percentile_z", "restricted_loss", "loss_gap"}
    | {"shuffled_loss"}
)
"""Series that need held-out answers."""


@dataclass(frozen=True)
class JudgedRun:
    """A run and what is right to say of it.

    Attributes:
        name: Names it in tables.
        part: Part of its pool.
        configuration: All of its definition but the seed.
        metrics: Its columns.
        facts: What can be told to the detector: ``classes``, and of `NULL_FACTS` what is known.
        right: Verdicts, by what they are made from.
        borderline: Whether a moved threshold makes one of them wrong, likewise.
        late: Whether an early warning is due: it memorized first and generalized later.
        quiet: Whether nothing formed after a fit: no warning is right.
        t_gen: Step of generalization, or None if there is none.
    """

    name: str
    part: str
    configuration: str
    metrics: Mapping[str, Series]
    facts: Mapping[str, Any]
    right: Mapping[View, frozenset[str]]
    borderline: Mapping[View, bool]
    late: bool
    quiet: bool
    t_gen: int | None

    @classmethod
    def ordinary(cls, entry: PoolEntry) -> "JudgedRun":
        """An ordinary training, labelled by `ordinary_labels`."""
        full, losses = (ordinary_label(entry.metrics, entry.facts, view=view) for view in ("accuracies", "losses"))
        return cls(
            name=entry.facts["name"],
            part=entry.facts["part"],
            configuration=configuration_of(entry.facts),
            metrics=entry.metrics,
            facts=_tellable(entry.facts),
            right={"accuracies": full.right, "losses": losses.right},
            borderline={"accuracies": full.borderline, "losses": losses.borderline},
            late=full.late,
            quiet=not full.forming and not full.late,
            t_gen=full.t_gen,
        )

    @classmethod
    def phased(cls, run: ScoredRun, facts: Mapping[str, Any]) -> "JudgedRun":
        """A run of the pool of phases, labelled by `labels`: one verdict, the same from losses where those were trained."""
        right = frozenset({VERDICT_OF.get(run.label.kind, run.label.kind)})
        return cls(
            name=run.name,
            part=run.part,
            configuration=configuration_of(facts),
            metrics=run.metrics,
            facts=_tellable(facts),
            right={"accuracies": right} | ({"losses": right} if run.cross_entropy else {}),
            borderline={"accuracies": False, "losses": False},
            late=run.positive,
            quiet=run.negative,
            t_gen=run.label.t_grok,
        )

    def timeline(self, names: Collection[str] | None, told: Told) -> Timeline:
        """What the detector says of some of its series.

        Args:
            names: Columns it sees, None for all.
            told: What it is told beside them.
        """
        seen = {name: column for name, column in self.metrics.items() if names is None or name in names}
        given = {} if told == "none" else {"n_classes": self.facts["classes"]}
        if told == "null":
            given |= {name: self.facts.get(name) for name in NULL_FACTS}
        return follow(history_of(seen), **given).timeline


def _tellable(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the monitor found by itself; what it did not is not made up for."""
    found = facts.get("monitor") or {}
    return {"classes": facts["classes"]} | {name: found.get(name) for name in NULL_FACTS}
