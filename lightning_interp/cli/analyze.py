# SPDX-License-Identifier: Apache-2.0
"""``lightning-interp analyze``: finish an interrupted analysis, or analyze checkpoints."""

import argparse
from pathlib import Path
from typing import Any

from lightning_interp.cli.exit_codes import DONE
from lightning_interp.cli.plain_json import print_json
from lightning_interp.core.console import one_line
from lightning_interp.core.errors import ConfigError
from lightning_interp.core.imports import also_from

DESCRIPTION = """\
Analyze what a training left behind and print its phases.

Checkpoints: files (.ckpt, .pt, .pth, .bin, .safetensors, sharded with an index), folders of them, folders in the
Hugging Face layout, or URLs (s3://...). Nothing in a checkpoint is executed. Without --module the weights alone are
measured; with it and a --probe everything a live monitor would have measured:

  lightning-interp analyze checkpoints/
  lightning-interp analyze checkpoints/ --module project.model:build --probe project.data:probe
  lightning-interp analyze s3://bucket/run --step-pattern 'tokens(\\d+)B' --workers 4

A run directory of the monitor: observes every snapshot that has no record yet, or less than can be measured now,
with the measures the run was started with. Its code is not in it, and nothing it names is imported, so name a
function that builds the module (without arguments, any weights):

  lightning-interp analyze interp_runs/20260101T120000-abcdef --module my_project.model:build
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command; imports nothing heavy."""
    parser.description = DESCRIPTION
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="checkpoints, folders, URLs, or one run directory")
    what = parser.add_argument_group("what is measured")
    what.add_argument("--module", metavar="PKG.MOD:BUILD", help="function that builds the module; imported from here")
    what.add_argument(
        "--probe", metavar="RUN_DIR|PKG.MOD:FN", help="run whose probe and settings are used, or a function giving a Probe"
    )
    what.add_argument("--probe-step", metavar="PKG.MOD:FN", help="your own way to outputs")
    what.add_argument("--task", metavar="OP:P", help="group task, such as add:113 (add, sub, mul)")
    what.add_argument("--tca", action="store_true", help="also find tensor components of the activations")
    what.add_argument(
        "--measures",
        action="append",
        default=[],
        metavar="NAMES",
        help="measures by name, several by commas, groups losses, norms, spectra, or PKG.MOD:NAME (default: standard; "
        "of a run directory, beside its own); may be repeated",
    )
    what.add_argument(
        "--averaged", action="store_true", help="read averaged weights (EMA) where checkpoints have them beside the trained"
    )
    what.add_argument(
        "--key", default="", metavar="NAME", help="where in the files the state dict is, such as generator or nets.encoder"
    )
    how = parser.add_argument_group("how")
    how.add_argument("--out", type=Path, metavar="RUN_DIR", help="where results go (default: new, under interp_runs/)")
    how.add_argument("--step-pattern", metavar="REGEX", help="where names have the step, as the one group")
    how.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda:0, ... (default: auto)")
    how.add_argument("--engine", choices=("local", "ray"), default="local", help="where checkpoints are measured")
    how.add_argument("--workers", type=int, default=1, metavar="N", help="processes that measure (default: 1)")
    how.add_argument(
        "--threads", type=int, default=1, metavar="N", help="threads of each (default: 1; can change last bits)"
    )
    how.add_argument("--follow", action="store_true", help="go on as checkpoints are written, until Ctrl-C")
    how.add_argument("--json", action="store_true", help="print the timeline as JSON on standard output, nothing else")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    with also_from([Path.cwd()]):  # --module and the like name the user's own files
        if _is_live_run(args):
            if args.key:
                raise ConfigError("--key names a state dict within a file of torch.save, and a run directory has none.")
            from lightning_interp.cli.analyze_run import finish_run

            found = finish_run(args)
        else:
            from lightning_interp.cli.analyze_checkpoints import run_checkpoints

            found = run_checkpoints(args)
    _print_timeline(found, as_json=args.json)
    return DONE


def _is_live_run(args: argparse.Namespace) -> bool:
    """Whether the one source is a run directory whose analysis is to be finished."""
    return len(args.sources) == 1 and (Path(args.sources[0]) / "run.json").is_file() and args.out is None


def _print_timeline(run: Any, *, as_json: bool) -> None:
    timeline = run.timeline
    if as_json:
        print_json(None if timeline is None else timeline.to_dict())
        return
    if timeline is None:
        print("no record yet: nothing to say about phases")
        return
    from lightning_interp.phases.verdict_state import verdict_words

    print(one_line(f"verdict: {verdict_words(timeline)}"))
    for phase in timeline.phases:
        end = "open" if phase.end is None else f"{phase.end:,}"
        print(one_line(f"  {phase.name:<18} {phase.start:>10,} to {end:>10}   confidence {phase.confidence:.2f}"))
    for stage in timeline.stages if not timeline.phases else ():
        end = "open" if stage.end is None else f"{stage.end:,}"
        name = stage.name.replace("_", " ")
        print(one_line(f"  {name:<18} {stage.start:>10,} to {end:>10}   {stage.slope:+.2f} per e-fold of steps"))
