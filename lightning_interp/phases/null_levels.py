# SPDX-License-Identifier: Apache-2.0
"""What a predictor that ignores its input would get: every threshold is a share of it. And where that number comes from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightning_interp.core.errors import MetricsError
from lightning_interp.core.outcome import StandIn

if TYPE_CHECKING:
    from lightning_interp.phases.run_series import RunSeries

GIVEN = "given"
LEAST_ERROR = 0.5
"""Error that a constant answer makes at least, as long as nothing else is known: that of two equal classes."""


@dataclass(frozen=True)
class Facts:
    """What is known of the data beside the series.

    Attributes:
        n_classes: Number of classes, or None if it is not known.
        null_loss: Held-out loss of the best constant predictor, in the unit of the loss, or None.
        null_error: Share of held-out examples that the best constant answer gets wrong, or None.
        null_source: Where those two come from, in words; by ``loss`` and ``error`` if not from the same.
        heldout_examples: Number of held-out examples that an accuracy is a share of, or None.
        outcome: Another number of the user's that stands for held-out data, or None.
    """

    n_classes: int | None = None
    null_loss: float | None = None
    null_error: float | None = None
    null_source: str | Mapping[str, str] = GIVEN
    heldout_examples: int | None = None
    outcome: StandIn | None = None

    @property
    def accuracy_words(self) -> str:
        """What held-out accuracy is called."""
        return "held-out accuracy" if self.outcome is None or self.outcome.role != "accuracy" else self.outcome.name

    @property
    def loss_words(self) -> str:
        """What the held-out loss is called."""
        return "held-out loss" if self.outcome is None or self.outcome.role == "accuracy" else self.outcome.name

    def source_of(self, kind: str) -> str:
        """Where the null of ``loss`` or ``error`` comes from."""
        return self.null_source if isinstance(self.null_source, str) else self.null_source.get(kind, GIVEN)

    def __post_init__(self) -> None:
        if self.n_classes is not None and self.n_classes < 2:
            raise MetricsError(
                f"PhaseDetector: `n_classes` must be 2 or more, got {self.n_classes}. Leave it out if unknown."
            )
        if self.null_loss is not None and not (math.isfinite(self.null_loss) and self.null_loss > 0):
            raise MetricsError(
                f"PhaseDetector: `null_loss` must be a number over 0, got {self.null_loss}. It is the held-out loss of the "
                "best constant predictor; leave it out if unknown."
            )
        if self.null_error is not None and not 0 < self.null_error <= 1:
            raise MetricsError(
                f"PhaseDetector: `null_error` must lie over 0 and be at most 1, got {self.null_error}. It is 1 minus the "
                "share of the commonest class; leave it out if unknown."
            )
        if self.heldout_examples is not None and self.heldout_examples < 1:
            raise MetricsError(f"PhaseDetector: `heldout_examples` must be 1 or more, got {self.heldout_examples}.")


@dataclass(frozen=True)
class NullLevel:
    """A level and where it comes from.

    Attributes:
        value: In the unit of the series.
        source: In words.
        known: Whether it is more than the first record.
    """

    value: float
    source: str
    known: bool


def null_loss(observed: "RunSeries", name: str) -> NullLevel:
    """Loss of the best constant predictor, for the train or the held-out loss: the first that is known.

    As given; the lesser of ln C, unless the loss starts at step 0 under half of that and so is no cross-entropy, and of the
    least loss so far with answers exchanged between examples, which cannot be under it; its first record. A held-out loss
    whose log begins later than the train loss's takes the first record of that. An outcome in a unit of its own leaves the
    train loss its own null.
    """
    facts, loss, shuffled = observed.facts, observed[name], observed["shuffled_loss"]
    own = name == "train_loss" and facts.outcome is not None and facts.outcome.role == "own_loss"
    if facts.null_loss is not None and not own:
        return NullLevel(facts.null_loss, facts.source_of("loss"), True)
    begun = [series for series in (observed["train_loss"], observed["heldout_loss"]) if series] or [loss]
    first = max(loss.first_positive if loss else 0.0, *(each.first_positive for each in begun))
    known = []
    if facts.n_classes is not None and not (_untrained_first(observed) and first < math.log(facts.n_classes) / 2):
        known.append(NullLevel(math.log(facts.n_classes), f"ln C, C = {facts.n_classes}", True))
    if shuffled and not own:
        words = "least loss so far with answers exchanged between examples"
        known.append(NullLevel(observed.least_shuffled, words, True))
    if known:
        return min(known, key=lambda level: level.value)
    if not loss or (name == "heldout_loss" and not own and begun[0].steps[0] < loss.steps[0]):
        loss = begun[0]
    words = "train loss" if loss is observed["train_loss"] else facts.loss_words
    at = loss.steps[0] if loss else 0
    return NullLevel(loss.first_positive if loss else 1.0, f"{words} at its first record, step {at:,}", False)


def _untrained_first(observed: "RunSeries") -> bool:
    """Whether the first record is of the untrained network: at step 0, unless records at 0, 1, 2 and 3 look like epochs."""
    return observed.clock.first == 0 and not observed.by_epochs


def null_error(observed: "RunSeries") -> NullLevel:
    """Error of the best constant answer: as given, 1 - 1 / C of equal classes, or the greatest error so far, at least .5."""
    facts = observed.facts
    if facts.null_error is not None:
        return NullLevel(facts.null_error, facts.source_of("error"), True)
    if facts.n_classes is not None:
        return NullLevel(1 - 1 / facts.n_classes, f"1 - 1 / C of equal classes, C = {facts.n_classes}", False)
    worst = next((observed[name].peak for name in ("heldout_error", "train_error") if observed[name]), 1.0)
    return NullLevel(min(1.0, max(worst, LEAST_ERROR)), "greatest error so far, at least one half", False)
