# SPDX-License-Identifier: Apache-2.0
"""``lightning-interp analyze``: finish an interrupted analysis."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from lightning_interp.cli.exit_codes import DONE

DESCRIPTION = """\
Observe every snapshot of a run directory that has no record yet, or less than can be measured now, with the
measures the run was started with, and print its phases. The run's weights and probe are in the directory; its
code is not, and nothing the directory names is imported, so name a function that builds the module (without
arguments, any weights), and your own probe_step and measures if the run had any:

  lightning-interp analyze interp_runs/20260101T120000-abcdef --module my_project.model:build

Without --module, measures of weights and of the history are finished and the rest is listed as pending.
"""


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line; imports nothing heavy."""
    parser = subparsers.add_parser(
        "analyze",
        help="finish the analysis of a run directory",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="run directory, as the monitor printed it")
    parser.add_argument("--module", metavar="PKG.MOD:BUILD", help="function that builds the module; imported from here")
    parser.add_argument("--probe-step", metavar="PKG.MOD:FN", help="your own way to outputs, if the run had one")
    parser.add_argument(
        "--measures",
        action="append",
        default=[],
        metavar="PKG.MOD:NAME",
        help="a measure of your own, or one by name, beside the run's built-in ones; may be repeated",
    )
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda:0, ... (default: auto)")
    parser.add_argument("--json", action="store_true", help="print the timeline as JSON on standard output, nothing else")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command.

    Returns:
        0 done; errors are turned into exit codes by the program.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from lightning_interp.posthoc import analyze_run

    sys.path.insert(0, str(Path.cwd()))  # as `python -m` would: --module names the user's own files
    console = Console(stderr=True)
    columns = (TextColumn("snapshots"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("snapshots", total=None)
        finished = analyze_run(
            args.run_dir,
            module=args.module,
            device=args.device,
            probe_step=args.probe_step,
            measures=args.measures,
            on_progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    for notice in finished.notices:
        console.print(notice, markup=False, highlight=False)
    console.print(f"{len(finished.observed)} snapshots observed now, {len(finished.run.steps)} in the run", markup=False)
    for line in _still_pending(finished):
        console.print(line, markup=False, highlight=False)
    _print_timeline(finished.run, as_json=args.json)
    return DONE


def _still_pending(finished: Any) -> list[str]:
    lines = [f"pending, need --module: {', '.join(finished.pending)}"] if finished.pending else []
    return lines + [f"pending, the run had it: pass {option}" for option in finished.to_pass]


def _print_timeline(run: Any, *, as_json: bool) -> None:
    timeline = run.timeline
    if as_json:
        print(json.dumps(None if timeline is None else timeline.to_dict(), allow_nan=False))
        return
    if timeline is None:
        print("no record yet: nothing to say about phases")
        return
    print(f"verdict: {timeline.verdict}")
    for phase in timeline.phases:
        end = "open" if phase.end is None else f"{phase.end:,}"
        print(f"  {phase.name:<18} {phase.start:>10,} to {end:>10}   confidence {phase.confidence:.2f}")
