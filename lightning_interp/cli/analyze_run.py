# SPDX-License-Identifier: Apache-2.0
"""``lightning-interp analyze RUN_DIR``: finish an interrupted analysis."""

import argparse
from typing import Any

from lightning_interp.cli.progress import counted
from lightning_interp.core.errors import ConfigError


def finish_run(args: argparse.Namespace) -> Any:
    """Finish the analysis of a run directory and say what is still open; returns the run."""
    from lightning_interp.core.terminal import PlainConsole
    from lightning_interp.posthoc.unfinished_run import analyze_run

    if args.averaged:
        raise ConfigError(
            "--averaged: the snapshots of a run hold the network in training alone. Give checkpoints, or --out."
        )
    console = PlainConsole(stderr=True)
    with counted(console, "snapshots") as progress:
        finished = analyze_run(
            args.sources[0],
            module=args.module,
            device=args.device,
            probe_step=args.probe_step,
            measures=[name for names in args.measures for name in names.split(",")],
            on_progress=progress,
        )
    for notice in finished.notices:
        console.say(notice)
    console.say(f"{len(finished.observed)} snapshots observed now, {len(finished.run.steps)} in the run")
    for line in _still_pending(finished):
        console.say(line)
    return finished.run


def _still_pending(finished: Any) -> list[str]:
    lines = [f"pending, need --module: {', '.join(finished.pending)}"] if finished.pending else []
    return lines + [f"pending, the run had it: pass {option}" for option in finished.to_pass]
