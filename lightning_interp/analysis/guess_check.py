# SPDX-License-Identifier: Apache-2.0
"""A guessed loss is compared with the module's own as training goes on; one that is given up leaves no trace in phases."""

from collections.abc import Collection, Sequence

from lightning_interp.analysis.measuring import OTHER_LOSS, without_outputs
from lightning_interp.core.records import Record
from lightning_interp.measures import Measure

ROUNDING = 1e-4
"""Share of the first loss up to which a guess and the module's own loss are one: both come from float32."""
_CLOSELY, _LATER = 0.9, 0.5
"""A loss is compared again once it is this share of the latest that was: first, and below half of its start."""


def is_worth_a_look(loss: float, checked: Sequence[float]) -> bool:
    """Whether a loss has moved enough since it was last compared.

    Args:
        loss: The loss now.
        checked: The first loss that was compared and the latest.

    >>> is_worth_a_look(2.0, []), is_worth_a_look(2.2, [2.3, 2.3]), is_worth_a_look(2.0, [2.3, 2.3])
    (True, False, True)
    """
    if not checked:
        return True
    first, latest = checked[0], checked[-1]
    share = _CLOSELY if latest > first / 2 else _LATER
    return loss <= share * latest or loss * share >= latest > 0


def take_back_losses(
    records: Sequence[Record], measures: Sequence[Measure], kept: Collection[int]
) -> tuple[list[Record], str]:
    """Records of other steps without what came from the loss that was given up, and a line for the user.

    Args:
        records: Records of all other steps.
        measures: What is computed.
        kept: Steps whose snapshots are there: those are measured again.
    """
    changed = [without_outputs(record, measures, f"{OTHER_LOSS} than the module's own") for record in records]
    again = [new for new, old in zip(changed, records, strict=True) if new != old]
    gone = sum(record.step not in kept for record in again)
    dropped = f"; the snapshots of {gone:,} are gone, and phases are found without them" if gone else ""
    told = f"{len(again) - gone:,} other snapshots are measured again with the module's own loss{dropped}"
    return again, f"{told}; rows that loggers have of them keep the other loss"
