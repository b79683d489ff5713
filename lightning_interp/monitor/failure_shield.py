# SPDX-License-Identifier: Apache-2.0
"""Between the monitor and the training: what fails in the monitor ends the monitor, never the training."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

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


def shielded_hook(hook: Callable[..., None]) -> Callable[..., None]:
    """A method of a callback whose failure ends its monitor, never the training."""
    doing = f"failed in {hook.__name__.lstrip('_')}"

    @functools.wraps(hook)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        with shielded(doing, strict=self.config.request.strict, give_up=self._give_up):
            hook(self, *args, **kwargs)

    return wrapped
