# SPDX-License-Identifier: Apache-2.0
"""``lightning-interp demo``: train a small network until it groks, and show its phases."""

import argparse
import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_interp.cli.exit_codes import DONE, FAILED, INTERRUPTED, TERMINATED
from lightning_interp.cli.plain_json import print_json
from lightning_interp.cli.programs import as_typed
from lightning_interp.core.console import one_line
from lightning_interp.core.errors import ConfigError

if TYPE_CHECKING:
    from lightning_interp.core.terminal import PlainConsole
    from lightning_interp.demo.run import DemoResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.description = (
        "Trains a one-layer transformer on modular addition on the CPU (about two minutes on two cores), "
        "with W&B offline and no account. Exit code 1 if it did not grok."
    )
    parser.formatter_class = argparse.HelpFormatter  # one paragraph
    parser.add_argument("--out", type=Path, help="new folder for everything (default: demo_run/<UTC time>)")
    parser.add_argument("--max-steps", type=int, help="optimizer steps (default: enough to grok and clean up)")
    parser.add_argument("--seed", type=int, help="seed of split and initial weights (default: the tested one)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout, all else on stderr")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo and show its results; returns the exit code."""
    out = args.out or Path("demo_run") / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    try:
        with redirect_stdout(sys.stderr if args.json else sys.stdout):
            from lightning_interp.core.terminal import PlainConsole

            console = PlainConsole()
            result = _train(out, args, console)
            if not args.json:
                _show(result, console)
    except (KeyboardInterrupt, SystemExit) as stop:  # Lightning turns Ctrl-C into SystemExit
        print(one_line(f"Stopped. What was captured is in {out / 'run'}."), file=sys.stderr)
        return TERMINATED if isinstance(stop, SystemExit) and stop.code == TERMINATED else INTERRUPTED
    if args.json:
        print_json(_summary(result))
    if not result.grokked:
        from lightning_interp.phases.verdict_state import verdict_words

        print(f"The network did not grok: the verdict is {verdict_words(result.timeline)}.", file=sys.stderr)
    return DONE if result.grokked else FAILED


def _train(out: Path, args: argparse.Namespace, console: "PlainConsole") -> "DemoResult":
    if find_spec("lightning") is None:  # the rest of the package does with `pytorch_lightning`
        raise ConfigError(
            "demo: its network is written for the package `lightning`, which is not installed. Run `pip install lightning`."
        )
    console.print("Loading PyTorch and Lightning …")
    from lightning_interp.demo import run as demo

    steps = demo.MAX_STEPS if args.max_steps is None else args.max_steps
    seed = demo.SEED if args.seed is None else args.seed
    console.print(f"Training a one-layer transformer to add modulo {demo.P}, {steps} steps on the CPU.")
    return demo.run_demo(out, max_steps=steps, seed=seed, console=console)


def _show(result: "DemoResult", console: "PlainConsole") -> None:
    from rich.table import Table

    from lightning_interp.phases.verdict_state import verdict_words

    table = Table("phase", "from step", "to step", "confidence", title=f"Verdict: {verdict_words(result.timeline)}")
    for phase in result.timeline.phases:
        end = "end" if phase.end is None else str(phase.end)
        table.add_row(phase.name.replace("_", " "), str(phase.start), end, f"{phase.confidence:.2f}")
    console.print(table)
    if result.report is not None:
        console.say(f"Report          {result.report}  (opens in any browser)", soft_wrap=True)
    console.say(f"Picture         {result.picture}", soft_wrap=True)
    console.say(f"Run directory   {result.run_dir}", soft_wrap=True)
    upload = f"{as_typed('wandb')} sync {result.wandb_dir}"
    console.say(f"Offline W&B run {result.wandb_dir}  (to upload it: {upload})", soft_wrap=True)
    go_on = f"{as_typed('lightning-interp')} tca {result.run_dir} --figure components.html"
    console.say(f"To go on        {go_on}", soft_wrap=True)


def _summary(result: "DemoResult") -> dict[str, object]:
    return {
        "grokked": result.grokked,
        "run_dir": str(result.run_dir),
        "picture": str(result.picture),
        "report": None if result.report is None else str(result.report),
        "wandb_dir": str(result.wandb_dir),
        "timeline": result.timeline.to_dict(),
    }
