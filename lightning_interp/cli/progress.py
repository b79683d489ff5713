# SPDX-License-Identifier: Apache-2.0
"""A progress bar with rate and time left, on standard error and only where that is a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_interp.core.terminal import PlainConsole


@contextmanager
def counted(console: "PlainConsole", what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for the duration of the block; gives the function that is told how many are done, and of how many."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from lightning_interp.core.terminal import shown

    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with shown(progress):
        bar = progress.add_task(what, total=None, rate="")

        def advance(done: int, total: int) -> None:
            elapsed = progress.tasks[bar].elapsed
            rate = f"{done / elapsed:.1f}/s" if done and elapsed else ""
            progress.update(bar, completed=done, total=total, rate=rate)

        yield advance
