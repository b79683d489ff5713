# SPDX-License-Identifier: Apache-2.0
"""Numbers as people's files write them."""

import math
import re
from typing import Any

BLANK = frozenset(("", "none", "null", "n/a", "na", "-", "--", "<na>", "#n/a", "undefined"))
"""Cells that say nothing was logged, in lower case."""
LARGEST_STEP = 2**53
"""Steps are exact up to here."""

_INFINITE = 1.797e308
"""MLflow's database keeps infinity as the largest number it has."""
_LONGEST = 400
_TENSOR = re.compile(r"^(?:tensor|array|np\.float\d+|float|jax\.array)\(\s*([^,()\s]+)\s*(?:,.*)?\)$", re.IGNORECASE)
_GROUPED = re.compile(r"^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$")


class NotNumberError(ValueError):
    """A cell that is neither blank nor a number."""


def number(cell: Any) -> float | None:
    """The number a cell holds; None for one that is blank.

    Beside plain numbers: a percent sign, ``tensor(0.5, device='cuda:0')``, a list of one number, thousands in groups. The
    largest number of 64 bits is infinity.

    >>> number("97.5 %"), number("tensor(0.25, device='cuda:0')"), number("N/A")
    (97.5, 0.25, None)

    Raises:
        NotNumberError: It is something else.
    """
    if isinstance(cell, list) and len(cell) == 1:
        cell = cell[0]
    if cell is None:
        return None
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        raise NotNumberError
    try:
        value = float(cell)
    except OverflowError:  # a whole number beyond what floats hold
        value = math.inf if cell > 0 else -math.inf  # type: ignore[operator]
    except ValueError:
        return _written(str(cell))
    return math.copysign(math.inf, value) if abs(value) >= _INFINITE else value


def _written(cell: str) -> float | None:
    text = cell.strip()
    if text.lower() in BLANK:
        return None
    if len(text) > _LONGEST:
        raise NotNumberError
    if wrapped := _TENSOR.match(text):
        text = wrapped[1]
    text = text.removesuffix("%").strip().removeprefix("[").removesuffix("]")
    if _GROUPED.match(text):
        text = text.replace(",", "")
    try:
        return number(float(text))
    except ValueError:
        raise NotNumberError from None


def whole(value: float) -> int | None:
    """The step a number is; None if it is none.

    >>> whole(1e3), whole(0.5), whole(-1.0), whole(math.inf)
    (1000, None, None, None)
    """
    return int(value) if 0 <= value <= LARGEST_STEP and value == math.floor(value) else None
