# SPDX-License-Identifier: Apache-2.0
"""Which rows of records.jsonl stand, and what a row says of values that were not finite. Plain values, no torch."""

import math
from collections.abc import Iterable, Mapping
from typing import TypeVar

Content = TypeVar("Content")

NOT_FINITE = "not finite"
"""Part of the reason recorded for a value that is NaN or infinite; JSON has no token for these."""
FAILED = "failed"
"""Start of the reason recorded for the values of a measure that broke."""


def valid_until(attempt: int, resumed: Mapping[int, int]) -> int | None:
    """Last step of an attempt that later starts did not take back; None where all of it stands.

    Args:
        attempt: Number of a start.
        resumed: Step that each later start continued from, by its number.

    >>> valid_until(0, {1: 30, 2: 20})
    20
    """
    return min((step for later, step in resumed.items() if later > attempt), default=None)


def valid_rows(rows: Iterable[tuple[int, int, Content]], resumed: Mapping[int, int]) -> dict[int, Content]:
    """Content of the rows that stand by step, ascending: the last of each step that no later start took back.

    Args:
        rows: Step, attempt and content, in the order of the file.
        resumed: Step that each later start continued from, by its number.
    """
    kept: dict[int, Content] = {}
    for step, attempt, content in rows:
        limit = valid_until(attempt, resumed)
        if limit is None or step <= limit:
            kept[step] = content
    return dict(sorted(kept.items()))


def lost_to_infinity(skipped: Mapping[str, str]) -> list[str]:
    """Names whose value was NaN or infinite, by the reasons of a record.

    A measure that failed may quote an exception about numbers that are not finite; that says nothing of its own value.
    """
    return [
        name
        for name, reason in skipped.items()
        if NOT_FINITE in str(reason) and not str(reason).startswith(FAILED)  # also "the train loss is not finite"
    ]


def with_non_finite(values: Mapping[str, float], skipped: Mapping[str, str]) -> dict[str, float]:
    """Values of a record as the detector needs them: those recorded as not finite come back as NaN."""
    return dict(values) | dict.fromkeys(lost_to_infinity(skipped), math.nan)
