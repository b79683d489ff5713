# SPDX-License-Identifier: Apache-2.0
"""Numbers on the command line of ``lightning-interp tca``."""

import argparse
from collections.abc import Callable

HIGHEST_RANK = 512
"""No rank over this is tried: it would describe nothing in few components."""


def parse_ranks(text: str) -> tuple[int, ...]:
    """Ranks of ``1:12`` (12 included), ``1,2,4``, ``3`` or a mixture, ascending.

    Raises:
        argparse.ArgumentTypeError: Something else.

    >>> parse_ranks("1:3,6")
    (1, 2, 3, 6)
    """
    ranks: set[int] = set()
    for part in text.split(","):
        first, colon, last = part.partition(":")
        if not first.strip().isdecimal() or (colon and not last.strip().isdecimal()):
            raise argparse.ArgumentTypeError(f"expected ranks such as 1:12, 1,2,4 or 3, got {text!r}")
        low, high = int(first), int(last if colon else first)
        if not 1 <= low <= high <= HIGHEST_RANK:
            raise argparse.ArgumentTypeError(f"expected ascending ranks from 1 to {HIGHEST_RANK}, got {part!r}")
        ranks.update(range(low, high + 1))
    return tuple(sorted(ranks))


def at_least(least: int) -> Callable[[str], int]:
    """A parser of whole numbers that are not under `least`."""

    def whole(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} on, got {text!r}")
        return int(text)

    return whole
