# SPDX-License-Identifier: Apache-2.0
"""``lightning-interp analyze``: finish an interrupted analysis."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

DESCRIPTION = """\
Observe every snapshot of a run directory that has no record yet, with the measures the run was started with,
and print its phases. The run's weights and probe are in the directory; its code is not, so name a function
that builds the module (without arguments, any weights):

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
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda:0, ... (default: auto)")
    parser.add_argument("--json", action="store_true", help="print the timeline as JSON on standard output, nothing else")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command.

    Returns:
        0 done, 1 the analysis failed.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from lightning_interp.posthoc import analyze_run

    sys.path.insert(0, str(Path.cwd()))  # as `python -m` would: --module names the user's own files
    console = Console(stderr=True)
    columns = (TextColumn("snapshots"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("snapshots", total=None)
        finished = analyze_run(
            args.run_dir,
            module=args.module,
            device=args.device,
            on_plan=lambda steps: progress.update(bar, total=len(steps)),
            on_step=lambda _: progress.advance(bar),
        )
    for notice in finished.notices:
        console.print(notice, markup=False, highlight=False)
    console.print(f"{len(finished.observed)} snapshots observed now, {len(finished.run.steps)} in the run", markup=False)
    if finished.pending:
        console.print(f"pending, need --module: {', '.join(finished.pending)}", markup=False)
    _print_timeline(finished.run, as_json=args.json)
    return 0


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
