# SPDX-License-Identifier: Apache-2.0
"""Results as JSON that a terminal can show."""

import json
from typing import Any


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print a value on standard output. Strings are ASCII without control characters, so that what is shown is what is read.

    Args:
        value: A nesting of mappings and sequences without NaN and infinity.
        indent: Spaces of each level; None puts everything into one line.
    """
    # DEL is the one control character that json leaves as it is.
    print(json.dumps(value, indent=indent, allow_nan=False).replace("\x7f", "\\u007f"))
