# SPDX-License-Identifier: Apache-2.0
"""``lightning-interp compare``: two or more run directories side by side."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_interp.cli.exit_codes import DONE
from lightning_interp.cli.plain_json import print_json

if TYPE_CHECKING:
    from lightning_interp.dashboards.figures.comparison import RunCurves
    from lightning_interp.posthoc.comparison import ComparedRun, Comparison

DESCRIPTION = """\
Compares runs of the monitor: when each phase began and how far apart that is over runs (seeds, say), the losses in phase
time, and how alike the activations are where each run leaves a phase (linear CKA, Procrustes distance). Activations are
compared where all runs share their probe. What cannot be computed is named, with the reason. Nothing is written but the
picture.
"""

EPILOG = """examples:
  lightning-interp compare runs/seed_0 runs/seed_1 runs/seed_2
      Do the seeds agree on when the circuit formed, and do they end with the same representation?
  lightning-interp compare runs/wd_1 runs/wd_3 --figure compare.html
      Two configurations, with a picture: losses over steps, phases of both, losses in phase time.
  lightning-interp compare runs/seed_* --json | python -c "import json, sys; print(json.load(sys.stdin)['boundaries'])"
      The same for a script: one JSON object on standard output.

Phase time is the step at which the first run was at the same place between its phase boundaries.
exit code: 0 done, also where parts could not be computed; 2 fewer than two runs, or one that cannot be read
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command; imports nothing heavy."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument(
        "run_dirs", type=Path, nargs="+", metavar="RUN_DIR", help="two or more run directories; the first sets phase time"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output, nothing else")
    parser.add_argument(
        "--figure", type=Path, metavar="FILE", help="also draw: FILE.html needs no network, FILE.png is an image"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare, draw, print; returns the exit code."""
    if args.figure:
        from lightning_interp.cli.picture import check_figure

        check_figure(args.figure)
    from lightning_interp.posthoc.comparison import compare_runs

    comparison = compare_runs(args.run_dirs)
    if args.figure:
        _draw(comparison, args.figure)
    if args.json:
        print_json(comparison.to_dict())
    else:
        from lightning_interp.cli.compare_text import show
        from lightning_interp.core.terminal import PlainConsole

        show(comparison, PlainConsole())
    return DONE


def _draw(comparison: "Comparison", target: Path) -> None:
    from lightning_interp.cli.picture import write_picture
    from lightning_interp.dashboards.figures.comparison import comparison_figure

    runs = [_curves(each) for each in comparison.runs]
    write_picture(comparison_figure(runs, title=f"{len(runs)} runs compared"), target)


def _curves(compared: "ComparedRun") -> "RunCurves":
    from lightning_interp.dashboards.figures.comparison import RunCurves

    series = {name: (found.steps, found.values) for name, found in compared.trajectories.items()}
    mapped = {name: found.phase_time for name, found in compared.trajectories.items() if found.phase_time is not None}
    return RunCurves(compared.name, compared.phases, series, mapped)
