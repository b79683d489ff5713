# SPDX-License-Identifier: Apache-2.0
"""Values of JSON objects as cells under flat names, however deep they lie."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

MOST_NAMES = 20_000
_DEEPEST = 6


class NotJsonError(ValueError):
    """A text that is no JSON."""


def decoded(text: str) -> Any:
    """What a JSON text holds; NaN and Infinity are understood.

    Raises:
        NotJsonError: It is none, or nested or a number beyond what can be read.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as err:
        raise NotJsonError(str(err)) from err


def flat_cells(data: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Name and cell of every single value of an object; of nested ones the names are joined by slashes.

    >>> flat_cells({"iter": 3, "loss": {"train": 2.5, "val": None}, "per_class": [1, 2]})
    [('iter', 3), ('loss/train', 2.5), ('loss/val', None)]
    """
    found = []
    for name, value in _walk(data, "", 0):
        found.append((name, value))
        if len(found) > MOST_NAMES:
            raise NotJsonError(f"over {MOST_NAMES:,} values in one object")
    return found


def _walk(data: Mapping[str, Any], before: str, depth: int) -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        full = f"{before}{name}"
        if isinstance(value, Mapping):
            if depth < _DEEPEST:
                yield from _walk(value, f"{full}/", depth + 1)
        elif not isinstance(value, list) or len(value) == 1:
            yield full, value
