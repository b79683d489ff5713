# SPDX-License-Identifier: Apache-2.0
"""Between the monitor and the training: what fails in the monitor ends the monitor, never the training."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lightning_interp.core.console import warn


@contextmanager
def shielded(
    doing: str, *, strict: bool, give_up: Callable[[], str], spares: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Turn a failure inside the block into one warning and the end of the monitor; Ctrl-C passes on.

    Args:
        doing: What failed then, as in "failed in step".
        strict: Pass every failure on: the user's wish.
        give_up: Lets go of the monitor; gives the end of the warning, what the training goes on without.
        spares: Failures that are passed on also without `strict`.
    """
    try:
        yield
    except Exception as err:
        if strict or isinstance(err, spares):
            raise
        rest = give_up()
        warn(f"the monitor {doing} ({type(err).__name__}: {err}). Training goes on without {rest}.")
