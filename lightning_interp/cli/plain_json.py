# SPDX-License-Identifier: Apache-2.0
"""Results as values that JSON can hold, and as text that a terminal can show."""

import json
import math
from typing import Any


def finite(value: Any) -> Any:
    """The same nesting of mappings and sequences without NaN and infinity, which JSON does not have: they become None."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print a value on standard output. Strings are ASCII without control characters, so that what is shown is what is read.

    Args:
        value: A nesting of mappings and sequences without NaN and infinity.
        indent: Spaces of each level; None puts everything into one line.
    """
    # DEL is the one control character that json leaves as it is.
    print(json.dumps(value, indent=indent, allow_nan=False).replace("\x7f", "\\u007f"))
