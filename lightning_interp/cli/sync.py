# SPDX-License-Identifier: Apache-2.0
"""``lightning-interp sync``: results that came after training, to the W&B run of the training."""

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_interp.cli.exit_codes import DONE
from lightning_interp.cli.plain_json import print_json

if TYPE_CHECKING:
    from lightning_interp.dashboards.loggers.sync import Sent
    from lightning_interp.store.delivered import WandbTarget

DESCRIPTION = """\
Sends what the W&B run of a training has not got: rows of an analysis that finished after the training, each at its own
`interp/step`, and with them summary, figures and the report as they are now; while snapshots are not analyzed, no summary.
What was sent is noted in the run directory, so that a second call sends nothing twice.
"""

EPILOG = """examples:
  lightning-interp sync interp_runs/20260102T030405Z-1a2b3c
      To the W&B run that the training logged to, in the mode it had (WANDB_MODE says otherwise).
  lightning-interp sync interp_runs/20260102T030405Z-1a2b3c --offline
      Writes an offline run of the same id into ./wandb; `wandb sync` adds it to the run.
  lightning-interp sync interp_runs/20260102T030405Z-1a2b3c --project grokking
      A run whose training had no W&B, or checkpoints that were analyzed: begins a new W&B run.

exit code: 0 done, also where there was nothing to send; 1 W&B did not take it; 2 the training still delivers, or it is
unknown where to
"""

STILL_S = 120.0
"""A sign of life younger than that means that the training goes on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command; imports nothing heavy."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="run directory, as the monitor printed it")
    parser.add_argument("--offline", action="store_true", help="write an offline run, for `wandb sync`")
    parser.add_argument("--project", metavar="P", help="W&B project (default: the training's)")
    parser.add_argument("--entity", metavar="E", help="W&B user or team (default: the training's)")
    parser.add_argument("--id", metavar="ID", help="id of the W&B run (default: the training's)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output, nothing else")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Send, and say what went where."""
    from lightning_interp.config.monitor_config import switched_off
    from lightning_interp.dashboards.loggers.sync import choose_targets, sync_run
    from lightning_interp.monitor.run_report import REPORT_SWITCH, write_run_report
    from lightning_interp.store.run import open_run

    opened = open_run(args.run_dir)
    check_ended(args.run_dir)
    targets = choose_targets(opened, project=args.project, entity=args.entity, run_id=args.id)

    def report() -> Path | None:
        return None if switched_off(REPORT_SWITCH) else write_run_report(args.run_dir, partial=False, strict=False)

    modes = {target: mode_of(target, offline=args.offline) for target in targets}
    sent = sync_run(opened, modes, report=report)
    if args.json:
        print_json({"sent": [_plain(each) for each in sent]})
        return DONE
    _show(sent, targets)
    return DONE


def check_ended(run_dir: Path) -> None:
    """Refuse a run whose training delivers by itself: rows would be there twice.

    Raises:
        RunError: The training goes on, as far as its run directory tells.
    """
    from lightning_interp.core.errors import RunError
    from lightning_interp.store.delivered import read_delivered
    from lightning_interp.store.health_log import times
    from lightning_interp.store.heartbeat import read_heartbeat
    from lightning_interp.store.layout import DELIVERED
    from lightning_interp.store.run import open_run

    opened = open_run(run_dir)
    delivered = read_delivered(run_dir)
    delivers = delivered is not None and delivered.delivers
    if opened.manifest.status != "training" and not delivers:
        return
    heartbeat = read_heartbeat(run_dir)
    signs = times(opened.health[-20:])
    signs += [(run_dir / DELIVERED).stat().st_mtime] if delivers else []
    age = time.time() - max([*signs, 0.0 if heartbeat is None else heartbeat.at])
    if age < STILL_S:
        raise RunError(
            f"{run_dir}: its training goes on and delivers its results itself (last sign of life {max(age, 0):.0f} s ago). "
            f"Wait for its end; if it was killed, call again in {STILL_S - age:.0f} s."
        )


def mode_of(target: "WandbTarget", *, offline: bool) -> str:
    """W&B's mode: asked for, else by WANDB_MODE, else that of the training.

    Raises:
        RunError: W&B is disabled, or the mode is none.
    """
    from lightning_interp.core.errors import RunError
    from lightning_interp.dashboards.loggers.wandb import mode_named

    mode = "offline" if offline else mode_named(os.environ.get("WANDB_MODE") or target.mode)
    if mode not in ("online", "offline"):
        raise RunError(f"WANDB_MODE={mode}: nothing can be sent. Unset it, or set it to online or offline.")
    return mode


def _show(sent: list["Sent"], targets: tuple["WandbTarget", ...]) -> None:
    from lightning_interp.cli.programs import as_typed
    from lightning_interp.core.console import one_line
    from lightning_interp.phases.verdict_state import verdict_words

    for each in sent:
        rows = f"{len(each.steps):,} rows (steps {each.steps[0]:,} to {each.steps[-1]:,})" if each.steps else "no row"
        summary = "summary, " if each.timeline.state == "final" else ""
        print(one_line(f"Sent {rows}, {summary}{each.figures} figures and files to {each.target.place} ({each.mode})."))
        if not summary:
            print(one_line(f"The verdict is {verdict_words(each.timeline)}; the summary goes with a final one."))
        if each.directory is not None:
            print(one_line(f"Offline run {each.directory}; to upload it: {as_typed('wandb')} sync {each.directory}"))
        elif each.target.url:
            print(one_line(f"See {each.target.url}"))
    if not sent:
        places = ", ".join(target.place for target in targets)
        print(one_line(f"Nothing to send: {places} has all results."))


def _plain(sent: "Sent") -> dict[str, Any]:
    target = sent.target
    return {
        "rows": len(sent.steps),
        "steps": list(sent.steps),
        "figures": sent.figures,
        "state": sent.timeline.state,
        "entity": target.entity,
        "project": target.project,
        "id": target.run_id,
        "url": target.url,
        "mode": sent.mode,
        "directory": sent.directory,
    }
