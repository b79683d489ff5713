# SPDX-License-Identifier: Apache-2.0
"""Results as values that JSON can hold."""

import math
from typing import Any


def finite(value: Any) -> Any:
    """The same nesting of mappings and sequences without NaN and infinity, which JSON does not have: they become None."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
