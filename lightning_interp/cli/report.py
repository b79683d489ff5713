# SPDX-License-Identifier: Apache-2.0
"""``lightning-interp report``: one page about a run, or several, that opens from disk without network."""

import argparse
from pathlib import Path
from typing import Any

from lightning_interp.cli.exit_codes import DONE
from lightning_interp.cli.plain_json import print_json

DESCRIPTION = """\
Writes report.html: the verdict in one sentence, the phases and what changed at each boundary, every figure that can be drawn
of the run, its components, configuration and health, and links to the data files. The page needs no network and no server;
nothing that a run contributes is executed. Of several runs it also shows how they compare. The monitor writes the same page
at the end of a training; this renews it.
"""

EPILOG = """examples:
  lightning-interp report interp_runs/20260102T030405Z-1a2b3c
      Writes interp_runs/20260102T030405Z-1a2b3c/report.html.
  lightning-interp report runs/seed_* -o results
      One page on all seeds, results/report.html: each run, their phases side by side, statistics over seeds.

exit code: 0 done; 2 a run that cannot be read, or a folder that cannot be written
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command; imports nothing heavy."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("run_dirs", type=Path, nargs="+", metavar="RUN_DIR", help="run directory, as the monitor printed it")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="folder of the page, made if need be (default: the first RUN_DIR)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output, nothing else")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the page and say where it is; returns the exit code."""
    from lightning_interp.core.errors import ConfigError
    from lightning_interp.core.terminal import PlainConsole, shown

    with shown(PlainConsole(stderr=True).status("reading and drawing …")):
        from lightning_interp.dashboards.report import write_report

        comparison = _compared(args.run_dirs) if len(args.run_dirs) > 1 else None
        try:
            if args.output is not None:
                args.output.mkdir(parents=True, exist_ok=True)
            page = write_report(args.run_dirs, args.output, comparison=comparison)
        except OSError as err:
            target = args.output or args.run_dirs[0]
            raise ConfigError(f"report: {target} cannot be written ({err.strerror or err}). Name another with -o.") from err
    if args.json:
        print_json({"report": str(page), "bytes": page.stat().st_size})
    else:
        from lightning_interp.core.console import one_line
        from lightning_interp.monitor.announcements import size_text

        print(one_line(f"Report: {page}  ({size_text(page.stat().st_size)}; opens in any browser, no network needed)"))
    return DONE


def _compared(run_dirs: list[Path]) -> dict[str, Any]:
    """The tables of several runs, in words."""
    from lightning_interp.cli.compare_words import SIMILARITY, STATISTICS, notes, similarity_rows, statistics_rows
    from lightning_interp.posthoc.comparison import compare_runs

    found = compare_runs(run_dirs)
    return {
        "statistics": {"head": STATISTICS, "rows": list(statistics_rows(found))},
        "similarity": {"head": SIMILARITY, "rows": list(similarity_rows(found))},
        "notes": list(notes(found)),
    }
