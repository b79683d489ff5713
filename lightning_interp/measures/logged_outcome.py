# SPDX-License-Identifier: Apache-2.0
"""The number the user's code logs that decides whether a network generalizes, as of each snapshot."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from lightning_interp.core.errors import MeasureSkipped
from lightning_interp.core.outcome import LARGEST_SHARE, OUTCOME, OUTCOME_STEP, Outcome, nearest
from lightning_interp.core.records import Observation, Record
from lightning_interp.measures.base import Cost, Measure, Need
from lightning_interp.measures.label import LONGEST_TEXT, NO_LABELS, Label, Labels
from lightning_interp.measures.logged_names import logged_name, record_name

OVER_BEST = "that counts as perfect"
"""In the reason of every record whose value was refused."""


class LoggedOutcome(Measure):
    """``outcome``: the latest value of a logged number, in its own unit.

    With it ``outcome_step``, the optimizer step of the validation that gave it, if the training tells.

    Args:
        outcome: Which number.
    """

    name: ClassVar[str] = OUTCOME
    names: Labels = NO_LABELS  # type: ignore[misc]  # each outcome has the name it is logged under
    needs: ClassVar[frozenset[Need]] = frozenset({"weights"})
    cost: ClassVar[Cost] = "free"

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        section = "accuracies" if outcome.direction == "max" else "losses"
        self.names = {OUTCOME: Label(outcome.name[:LONGEST_TEXT], section=section, about="the outcome as it is logged")}

    def __call__(self, observation: Observation) -> Mapping[str, float]:
        """Take the value from the snapshot.

        Raises:
            MeasureSkipped: It is not among what was logged by then, or over the best it can be.
        """
        scalars, name = observation.snapshot.scalars, self.outcome.name
        if name not in scalars:
            others = [each for each in scalars if record_name(each) is None]
            raise MeasureSkipped(f"{name} is not logged at this step; {nearest(name, others)}")
        value, best = scalars[name], self.outcome.best
        if self.outcome.direction == "max" and value > best * LARGEST_SHARE:
            raise MeasureSkipped(f"{name} is {value:g}, over the {best:g} {OVER_BEST}; a percentage has best=100")
        told = {OUTCOME_STEP: scalars[logged_name(OUTCOME_STEP)]} if logged_name(OUTCOME_STEP) in scalars else {}
        return {OUTCOME: value, **told}


def missed_outcome(records: Sequence[Record]) -> str | None:
    """What to say if the number that was to decide never came, or could not be taken at times; None if it always came."""
    reasons = [record.skipped[OUTCOME] for record in records if OUTCOME in record.skipped]
    if not any(OUTCOME in record.values for record in records):
        return f"outcome: the verdict is without it: {reasons[-1] if reasons else 'no snapshot was analyzed'}"
    refused = [why for why in reasons if OVER_BEST in why]
    return f"outcome: {len(refused):,} snapshots are judged without it: {refused[-1]}" if refused else None
