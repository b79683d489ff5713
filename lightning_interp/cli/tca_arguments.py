# SPDX-License-Identifier: Apache-2.0
"""Numbers on the command line of ``lightning-interp tca``."""

import argparse
from collections.abc import Callable

from lightning_interp.core.errors import ConfigError
from lightning_interp.core.tca_settings import checked_ranks


def parse_ranks(text: str) -> tuple[int, ...]:
    """Ranks of ``1:12`` (12 included), ``1,2,4``, ``3`` or a mixture, ascending.

    Raises:
        argparse.ArgumentTypeError: Something else.

    >>> parse_ranks("1:3,6")
    (1, 2, 3, 6)
    """
    try:
        return checked_ranks(text)
    except ConfigError as err:
        raise argparse.ArgumentTypeError(str(err).removeprefix("tca.ranks: ")) from err


def at_least(least: int) -> Callable[[str], int]:
    """A parser of whole numbers that are not under `least`."""

    def whole(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} on, got {text!r}")
        return int(text)

    return whole
