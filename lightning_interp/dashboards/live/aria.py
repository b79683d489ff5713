# SPDX-License-Identifier: Apache-2.0
"""Attributes for assistive technology, whose names are no python names."""

from typing import Any


def aria(**attributes: str) -> dict[str, Any]:
    """Attributes of a component.

    >>> aria(label="Runs in view")
    {'aria-label': 'Runs in view'}
    """
    return {f"aria-{name}": value for name, value in attributes.items()}
