# SPDX-License-Identifier: Apache-2.0
"""``lightning-interp status``: where a run stands, in the terminal."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_interp.cli.exit_codes import DONE
from lightning_interp.core.errors import ConfigError, RunError

if TYPE_CHECKING:
    from lightning_interp.dashboards.run_summary import RunSummary
    from lightning_interp.dashboards.run_view import RunFollower, RunView

EPILOG = """examples:
  lightning-interp status interp_runs/20260102T030405Z-1a2b3c
  lightning-interp status interp_runs/20260102T030405Z-1a2b3c --follow
      The same again and again until the run ends.
  lightning-interp status interp_runs/20260102T030405Z-1a2b3c --json | python -m json.tool
"""
FOLLOW_S = 2.0
"""Seconds between two looks."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.description = "Shows where a run stands, from its run directory alone, while it trains or afterwards."
    parser.epilog = EPILOG
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="run directory")
    parser.add_argument(
        "--follow", action="store_true", help="show it again whenever it changes, until the run ends or Ctrl-C"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read and show; returns the exit code."""
    if args.follow and args.json:
        raise ConfigError("status: give either --follow or --json; a script can ask again by itself.")
    from lightning_interp.dashboards.run_view import RunFollower

    follower = RunFollower(args.run_dir)
    summary = _summarized(follower.look())
    if args.json:
        from lightning_interp.cli.plain_json import print_json
        from lightning_interp.core.plain_values import finite

        print_json(finite(summary.to_dict()))
    elif args.follow:
        _follow(follower, summary)
    else:
        _show(summary)
    return DONE


def _show(summary: "RunSummary") -> None:
    from lightning_interp.cli.status_text import page
    from lightning_interp.core.terminal import PlainConsole

    PlainConsole().print(page(summary))


def _follow(follower: "RunFollower", summary: "RunSummary") -> None:
    """Show it again and again; what cannot be read now is said, and tried again. The last state stays in the terminal."""
    from rich.live import Live

    from lightning_interp.cli.status_text import page
    from lightning_interp.core.terminal import PlainConsole, shown

    console = PlainConsole()
    live = Live(page(summary), console=console, auto_refresh=False, transient=True, vertical_overflow="ellipsis")
    try:
        with shown(live):
            while not summary.ended:
                time.sleep(FOLLOW_S)
                problem = ""
                try:
                    summary = _summarized(_looked(follower))
                except RunError as err:
                    problem = str(err)
                live.update(page(summary, problem), refresh=True)
    finally:
        _show(summary)


def _summarized(run: "RunView") -> "RunSummary":
    from lightning_interp.dashboards.run_summary import summary_of

    try:
        return summary_of(run, now=time.time())
    except (AttributeError, LookupError, TypeError, ValueError) as err:  # a stranger's values of another kind
        raise RunError(f"{run.path}: holds what this version cannot show ({type(err).__name__}: {err}).") from err


def _looked(follower: "RunFollower") -> "RunView":
    from lightning_interp.store.manifest import holds_run

    if not holds_run(follower.path):
        raise RunError(f"{follower.path} is gone. What was read before is shown.")
    return follower.look()
