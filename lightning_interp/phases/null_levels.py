# SPDX-License-Identifier: Apache-2.0
"""What a predictor that ignores its input would get: every threshold is a share of it. And where that number comes from."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightning_interp.core.errors import MetricsError

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
        null_source: Where those two come from, in words.
        heldout_examples: Number of held-out examples that an accuracy is a share of, or None.
        outcome_name: What is called held-out accuracy, if it is another number of the user's.
    """

    n_classes: int | None = None
    null_loss: float | None = None
    null_error: float | None = None
    null_source: str = GIVEN
    heldout_examples: int | None = None
    outcome_name: str | None = None

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


def null_loss(observed: "RunSeries") -> NullLevel:
    """Loss of the best constant predictor: the first that is known.

    As given; the least loss so far with answers exchanged between examples, which cannot be under it; ln C, unless the loss
    starts at step 0 under half of that and so is no cross-entropy; the greater first record of the two losses.
    """
    facts, shuffled = observed.facts, observed["shuffled_loss"]
    if facts.null_loss is not None:
        return NullLevel(facts.null_loss, facts.null_source, True)
    if shuffled:
        return NullLevel(observed.least_shuffled, "least loss so far with answers exchanged between examples", True)
    firsts = [(observed[name].first, name) for name in ("train_loss", "heldout_loss") if observed[name]]
    first, name = max(firsts, default=(1.0, "heldout_loss"))
    if facts.n_classes is not None and not (observed.clock.first == 0 and first < math.log(facts.n_classes) / 2):
        return NullLevel(math.log(facts.n_classes), f"ln C, C = {facts.n_classes}", True)
    words = "train loss" if name == "train_loss" else "held-out loss"
    return NullLevel(first, f"{words} at its first record, step {observed[name].steps[0] if firsts else 0:,}", False)


def train_null_loss(observed: "RunSeries") -> NullLevel:
    """The same for the train loss: its own if the held-out loss is an outcome of the user's, which has another unit."""
    facts, loss = observed.facts, observed["train_loss"]
    if facts.outcome_name is None or observed["heldout_error"] or not loss:
        return null_loss(observed)
    if facts.n_classes is not None and not (observed.clock.first == 0 and loss.first < math.log(facts.n_classes) / 2):
        return NullLevel(math.log(facts.n_classes), f"ln C, C = {facts.n_classes}", True)
    return NullLevel(loss.first, f"train loss at its first record, step {loss.steps[0]:,}", False)


def null_error(observed: "RunSeries") -> NullLevel:
    """Error of the best constant answer: as given, 1 - 1 / C, or the greatest error so far, at least one half."""
    facts = observed.facts
    if facts.null_error is not None:
        return NullLevel(facts.null_error, facts.null_source, True)
    if facts.n_classes is not None:
        return NullLevel(1 - 1 / facts.n_classes, f"1 - 1 / C, C = {facts.n_classes}", True)
    worst = max((observed[name].peak for name in ("heldout_error", "train_error") if observed[name]), default=1.0)
    return NullLevel(min(1.0, max(worst, LEAST_ERROR)), "greatest error so far, at least one half", False)
