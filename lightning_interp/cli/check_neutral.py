# SPDX-License-Identifier: Apache-2.0
"""``lightning-interp check-neutral``: prove on one's own training that the monitor does not change it."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_interp.cli.exit_codes import BAD_INPUT, DONE, FAILED
from lightning_interp.cli.plain_json import print_json
from lightning_interp.cli.tca_arguments import at_least
from lightning_interp.core.console import one_line
from lightning_interp.core.imports import also_from

if TYPE_CHECKING:
    from lightning_interp.neutrality import Difference, NeutralityReport, OnProgress

EXIT_CODES = {"neutral": DONE, "differs": FAILED, "not_watched": BAD_INPUT, "not_deterministic": BAD_INPUT}
_MOST_SHOWN = 12

DESCRIPTION = """\
Train with the monitor and without it, and compare every bit: the tensors of the module, what training_step
returns and the random states of python, NumPy and torch after each optimizer step, and the state of the
optimizers at the end. Each training has a process of its own and starts from the same seed. The one without the
monitor runs twice: if these two differ, your training is not deterministic, and nothing can be said.
"""

EPILOG = """\
FACTORY is a function without arguments that builds everything anew each time it is called and returns
(trainer, module), (trainer, module, data) or (trainer, module, train_loader, val_loader):

  # my_project/check.py
  def build():
      trainer = L.Trainer(max_epochs=3, logger=False, enable_checkpointing=False)
      return trainer, MyModule(), MyDataModule()

  lightning-interp check-neutral my_project.check:build
  lightning-interp check-neutral my_project.check:build --steps 2000 --every 50

If the trainer has an InterpMonitor, that one is checked, with its run directory in a temporary folder; otherwise
one with default arguments. Loggers and checkpoints of the trainer write where they always do, three times.
On a GPU, each comparison waits for the device, which a training of yours does not: run once more with a large
--every, so that the steps between are timed as always.

exit code: 0 nothing differs; 1 something differs, or training fails with the monitor; 2 it cannot be judged
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("factory", metavar="FACTORY", help="pkg.mod:name of a function, imported from here")
    parser.add_argument(
        "--steps", type=at_least(1), default=300, metavar="N", help="stop after N optimizer steps (default: 300)"
    )
    parser.add_argument(
        "--every", type=at_least(1), default=1, metavar="N", help="compare after every N steps (default: 1, each step)"
    )
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="S", help="where random streams start (default: 0)")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object on stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command; returns the exit code."""
    from lightning_interp.neutrality import check_neutral

    with _progress(args.steps) as on_progress, also_from([Path.cwd()]):  # FACTORY names the user's own files
        report = check_neutral(args.factory, steps=args.steps, every=args.every, seed=args.seed, on_progress=on_progress)
    if args.json:
        print_json(report.to_dict())
    _show(report, as_json=args.json)
    return EXIT_CODES[report.verdict]


@contextmanager
def _progress(steps: int) -> "Iterator[OnProgress]":
    """Bars on standard error, one for each training; one line for each where it is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from lightning_interp.core.terminal import PlainConsole, shown

    console = PlainConsole(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with shown(progress):
        bars: dict[str, Any] = {}

        def on_progress(stage: str, step: int) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(f"training {stage}", total=steps)
                if not console.is_terminal:
                    console.say(f"training {stage}")
            progress.update(bars[stage], completed=step)

        yield on_progress


def _show(report: "NeutralityReport", *, as_json: bool) -> None:
    stream = sys.stderr if as_json or EXIT_CODES[report.verdict] == BAD_INPUT else sys.stdout
    for line in report_lines(report):
        print(one_line(line), file=stream)


def report_lines(report: "NeutralityReport") -> list[str]:
    """The report in words."""
    compared = (
        f"{report.steps:,} steps, {report.tensors} tensors, training outputs and {report.random_states} random states "
        f"compared {report.moments:,} times, {report.optimizer_tensors} optimizer entries at the end"
    )
    if report.verdict == "not_deterministic":
        return [
            f"error: cannot be judged: two trainings without the monitor differ at {_where(report.control[0])}",
            *_rest(report.control[1:]),
            "Make the training repeatable, then check again. Python, NumPy and torch are seeded before the factory is",
            "imported and called, so the difference comes from elsewhere: a generator with a seed of its own, os.urandom,",
            "the time, files that the training changes, or CUDA kernels (Trainer(deterministic=True)).",
        ]
    if report.verdict == "differs":
        return [
            f"first difference: {_where(report.differences[0])}",
            *_rest(report.differences[1:]),
            f"The training differs with the monitor; without it, it is the same twice ({compared}).",
        ]
    if report.verdict == "not_watched":
        return [
            f"error: cannot be judged: 0 bits differ ({compared}), but the monitor analyzed no step meanwhile.",
            "Its analysis failed or had no time: train as always and see what the monitor says.",
        ]
    return [f"neutral: 0 bits differ ({compared}; the monitor analyzed {report.observed} steps meanwhile)"]


def _where(difference: "Difference") -> str:
    """One difference in words: where, what, and how large."""
    step = f"step {difference.step:,}" + (" (before the first step)" if difference.step == 0 else "")
    what = difference.name if difference.kind == "length" else f"{difference.kind} {difference.name}"
    largest = "" if difference.largest is None else f" (largest absolute difference {difference.largest:.2g})"
    return f"{step}, {what}{largest}"


def _rest(differences: "tuple[Difference, ...]") -> list[str]:
    lines = [f"then: {_where(difference)}" for difference in differences[:_MOST_SHOWN]]
    left = len(differences) - _MOST_SHOWN
    return lines + ([f"and {left} more; --json lists all"] if left > 0 else [])
