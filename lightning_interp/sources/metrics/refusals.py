# SPDX-License-Identifier: Apache-2.0
"""What somebody is told whose file is not understood: what was found, and the option that gets through."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from lightning_interp.core.errors import MetricsError
from lightning_interp.sources.metrics.axis import axis_name
from lightning_interp.sources.metrics.columns import CURVE_NAMES, columns_with, understood

_SHOWN = 20


def listed(names: Iterable[str], shown: int = _SHOWN) -> str:
    """Names in a sentence, the first of them."""
    names = list(names)
    return ", ".join(f"`{name}`" for name in names[:shown]) + (
        f" and {len(names) - shown} more" if len(names) > shown else ""
    )


def command_with(path: Path, names: Sequence[str]) -> str:
    """The command that says which columns are meant, with those that may be.

    >>> command_with(Path("log.csv"), ["epoch", "box_loss", "val_box_loss"])
    'lightning-interp phases log.csv --columns train_loss=box_loss --columns heldout_loss=val_box_loss'
    """
    found = {}
    for wanted in CURVE_NAMES:
        fitting = columns_with(names, wanted)
        said = [name for name in fitting if columns_with([name], _other(wanted)) == []]
        if fitting:
            found[wanted] = (said or fitting)[0]
    if not found:
        others = [name for name in names if not axis_name(name) and "time" not in name.lower()]
        found = dict(zip(("train_loss", "heldout_loss"), (*others[:1], "COLUMN", "COLUMN"), strict=False))
    given = " ".join(f"--columns {_quoted(f'{name}={column}')}" for name, column in found.items())
    return f"lightning-interp phases {_quoted(str(path))} {given}"


def no_curve(path: Path, found: Sequence[str], why: str = "") -> MetricsError:
    """The error for a file without a loss or accuracy."""
    return MetricsError(
        f"{path}: no loss or accuracy to judge. {why}{understood()}; columns with values: {listed(found) or 'none'}. Say "
        f"which is which: {command_with(path, found)}"
    )


def no_column(path: Path, column: str, found: Iterable[str]) -> MetricsError:
    """The error for a column that was asked for."""
    return MetricsError(f"{path}: no column `{column}` with values. There are {listed(found) or 'none'}. Check `--columns`.")


def several_runs(path: Path, runs: Sequence[str], told: str) -> MetricsError:
    """The error for a file of several runs."""
    return MetricsError(
        f"{path}: {len(runs)} runs are in it ({told}): {listed(runs)}. Name one of them: "
        f"lightning-interp phases {_quoted(str(path))} --run {_quoted(runs[0])}"
    )


def no_run(path: Path, run: str, runs: Iterable[str]) -> MetricsError:
    """The error for a run that was asked for."""
    return MetricsError(f"{path}: no run {run!r} in it. There are {listed(runs) or 'none to choose from'}. Check `--run`.")


def _other(wanted: str) -> str:
    side, _, quantity = wanted.partition("_")
    return f"{'heldout' if side == 'train' else 'train'}_{quantity}"


def _quoted(text: str) -> str:
    return text if all(each.isalnum() or each in "=_-./%:+,@" for each in text) else "'" + text.replace("'", "'\\''") + "'"
