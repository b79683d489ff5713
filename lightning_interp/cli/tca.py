# SPDX-License-Identifier: Apache-2.0
"""``lightning-interp tca``: the components of a run's stored activations."""

import argparse
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_interp.cli.exit_codes import BAD_INPUT, DONE, FAILED
from lightning_interp.cli.plain_json import print_json
from lightning_interp.cli.tca_arguments import at_least, parse_ranks
from lightning_interp.core.console import one_line
from lightning_interp.core.errors import ConfigError, InterpError, RunError, ShapeError
from lightning_interp.core.tca_settings import COMPARED_RANKS, RESTARTS

if TYPE_CHECKING:
    from lightning_interp.posthoc.component_findings import LayerComponents
    from lightning_interp.posthoc.layer_components import Options
    from lightning_interp.store.run import Run

SCHEMA = 1
"""Version of the JSON output."""

DESCRIPTION = """\
Describes the stored activations of a run as a sum of few components, each with a course over training (when), a loading
on every stimulus (which inputs) and a loading on every unit (who). All ranks and restarts are fitted, and the table says
why one rank is recommended. The same fit with unit labels shuffled in every snapshot tells what chance would give.
Components describe; they are not mechanisms.
"""

EPILOG = """examples:
  lightning-interp tca interp_runs/20260102T030405Z-1a2b3c
      Every layer whose activations are stored: how many components, and one sentence for each of them.
  lightning-interp tca interp_runs/20260102T030405Z-1a2b3c --layer 'blocks.*' --ranks 1:6 --figure components.html
      Some layers, fewer ranks, and one page with the factors of all of them; phases are shaded.
  lightning-interp tca interp_runs/20260102T030405Z-1a2b3c --layer mlp_act --figure mlp.png
      An image of one layer, for a paper or an issue.
  lightning-interp tca RUN_DIR --json | python -c "import json, sys; print(json.load(sys.stdin)['layers'][0]['recommended'])"
      The same for a script: one JSON object with the table, the components and their courses.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command; imports nothing heavy."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="run directory, as the monitor printed it")
    parser.add_argument(
        "--layer", action="append", default=[], metavar="L", help="layer name or glob; may be repeated (default: all stored)"
    )
    parser.add_argument(
        "--ranks",
        type=parse_ranks,
        default=COMPARED_RANKS,
        metavar="R",
        help="numbers of components to compare: 1:12 (12 included), 1,2,4 or 3 (default: 1:12)",
    )
    parser.add_argument(
        "--restarts", type=at_least(1), default=RESTARTS, metavar="N", help="random starts of each rank (default: 10)"
    )
    parser.add_argument(
        "--nonnegative",
        action=argparse.BooleanOptionalAction,
        help="allow no negative loading (default: if no activation is negative)",
    )
    parser.add_argument(
        "--seed", type=at_least(0), default=0, metavar="N", help="seed of starts and permutations (default: 0)"
    )
    parser.add_argument("--device", default="cpu", metavar="D", help="where to compute: cpu, cuda, cuda:1 (default: cpu)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output, nothing else")
    parser.add_argument(
        "--figure",
        type=Path,
        metavar="FILE",
        help="also draw: FILE.html holds all layers and needs no network; FILE.png one layer, of several FILE-<layer>.png",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command; 0 also if some layers had to be left out, 1 or 2 if none could be analyzed."""
    from lightning_interp.cli.picture import check_figure
    from lightning_interp.cli.tca_figure import draw
    from lightning_interp.store.run import open_run

    if args.figure:
        check_figure(args.figure)
    opened = open_run(args.run_dir)
    layers = choose_layers(opened, args.layer)
    options = _options(args)
    found, failures = _analyze(opened, layers, options)
    word = "note: left out" if found else "error:"
    for layer, err in failures.items():
        print(one_line(f"{word} layer {layer!r}: {err}"), file=sys.stderr)
    if not found:
        bad_input = all(isinstance(err, ConfigError | ShapeError | RunError) for err in failures.values())
        return BAD_INPUT if bad_input else FAILED
    _show(opened, found, failures, as_json=args.json)
    if args.figure:
        for path in draw(args.figure, opened, found):
            print(one_line(f"Picture: {path}"), file=sys.stderr)
    return DONE


def choose_layers(run: "Run", patterns: Sequence[str]) -> list[str]:
    """Layers with these names or globs, in the run's order; all where there are no patterns.

    Raises:
        ConfigError: Nothing is stored, or a pattern fits no layer.
    """
    layers = run.manifest.activation_layers
    if not layers or not run.observed_steps:
        raise ConfigError(
            f"{run.path}: no activations are stored. Train with InterpMonitor(layers=...) and a probe; if the analysis was "
            f"interrupted, finish it first: lightning-interp analyze {run.path} --module pkg.mod:build"
        )
    for pattern in patterns:
        if pattern not in layers and not any(fnmatchcase(layer, pattern) for layer in layers):
            raise ConfigError(f"--layer: no stored layer fits {pattern!r}; there are {', '.join(layers)}.")
    fits = {layer for layer in layers for pattern in patterns if layer == pattern or fnmatchcase(layer, pattern)}
    return [layer for layer in layers if not patterns or layer in fits]


def _options(args: argparse.Namespace) -> "Options":
    from lightning_interp.core.device import check_device
    from lightning_interp.posthoc.layer_components import Options

    try:
        check_device(args.device)
    except ConfigError as err:
        raise ConfigError(f"--{err}") from err
    return Options(args.ranks, args.restarts, args.nonnegative, args.seed, args.device)


def _analyze(
    run: "Run", layers: Sequence[str], options: "Options"
) -> "tuple[list[LayerComponents], dict[str, InterpError]]":
    """What was found in each layer, and why some could not be analyzed."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from lightning_interp.core.terminal import PlainConsole, shown
    from lightning_interp.posthoc.layer_components import analyze_layer

    found, failures = [], {}
    console = PlainConsole(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with shown(progress):
        for layer in layers:
            bar = progress.add_task(one_line(layer), total=None)
            try:
                found.append(analyze_layer(run, layer, options, on_progress=partial(_report, progress, bar, layer)))
            except InterpError as err:
                failures[layer] = err
            progress.remove_task(bar)
    return found, failures


def _report(progress: Any, bar: Any, layer: str, work: str, done: int, total: int) -> None:
    progress.update(bar, description=one_line(f"{layer}: {work}"), completed=done, total=total)


def _show(run: "Run", found: "Sequence[LayerComponents]", failures: "dict[str, InterpError]", *, as_json: bool) -> None:
    if as_json:
        skipped = [{"layer": layer, "reason": str(err)} for layer, err in failures.items()]
        name = run.path.resolve().name
        layers = [layer.content for layer in found]
        print_json({"schema": SCHEMA, "run": name, "layers": layers, "skipped": skipped})
        return
    from lightning_interp.cli.tca_text import show
    from lightning_interp.core.terminal import PlainConsole

    console = PlainConsole()
    for layer in found:
        show(layer, console)
