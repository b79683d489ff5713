# SPDX-License-Identifier: Apache-2.0
"""``lightning-interp phases``: the phases of learning in a metrics history, as a table, as JSON or as a picture."""

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_interp.cli.exit_codes import DONE
from lightning_interp.cli.phases_input import PhasesInput, estimate_line, read_input
from lightning_interp.cli.plain_json import print_json
from lightning_interp.sources.metrics import registry

if TYPE_CHECKING:
    from lightning_interp.core.timeline import Timeline
    from lightning_interp.sources.metrics.history import MetricsHistory

EPILOG = """examples:
  lightning-interp phases lightning_logs/version_0/metrics.csv --classes 10
  lightning-interp phases wandb/offline-run-20260102_030405-a1b2c3d4
  lightning-interp phases lightning_logs/version_0
  lightning-interp phases regression/metrics.csv --null-loss 1.83
      1.83 is the variance of the validation targets: the mean squared error of always answering their mean.
  lightning-interp phases tagger/metrics.csv --classes 9 --outcome val/f1 --outcome-null 0.11
      What counts is the F1 score of the validation, not accuracy; always answering one class would get .11.
  lightning-interp phases results.csv --columns train_loss=train/box_loss --columns heldout_loss=val/box_loss
  lightning-interp phases wandb_export.csv --run sunny-sweep-3
  lightning-interp phases run-a-tag-train_loss.csv run-a-tag-val_loss.csv
      Series that TensorBoard or MLflow keep in files of their own are read together.
  lightning-interp phases interp_runs/20260102T030405Z-1a2b3c --figure phases.html
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.description = (
        "Finds memorization, circuit formation and cleanup in logged losses. Columns: step, train_loss, "
        "heldout_loss (or val_loss, test_loss), train_accuracy, heldout_accuracy, and any other record name."
    )
    parser.epilog = EPILOG
    formats = registry.FORMATS[::-1]  # the usual ones are tried last
    kinds = f"{', '.join(each.description for each in formats)}, or a run directory"
    parser.add_argument(
        "file", type=Path, metavar="FILE", nargs="+", help=f"{kinds}; several where one run is spread over files"
    )
    parser.add_argument(
        "--columns",
        action="append",
        type=_columns,
        metavar="NAME=COLUMN",
        help="which column holds train_loss, heldout_loss, train_accuracy, heldout_accuracy or step, where its name "
        "does not tell; give it once for each",
    )
    parser.add_argument("--run", dest="which_run", metavar="NAME", help="run to read of a file with several: name or number")
    parser.add_argument("--json", action="store_true", help="print the timeline as one JSON object on stdout")
    parser.add_argument(
        "--classes", type=_classes, metavar="C", help="number of classes, so that chance is ln C (default: first record)"
    )
    _add_nulls(parser)
    _add_outcome(parser)
    parser.add_argument("--figure", type=Path, metavar="FILE", help="also write a picture: .html (needs no network) or .png")
    parser.add_argument(
        "--states",
        action="store_true",
        help="also show which latent states the run went through (in the text, not in the JSON)",
    )
    parser.set_defaults(run=run)


def _add_nulls(parser: argparse.ArgumentParser) -> None:
    null = parser.add_argument_group(
        "what a constant predictor gets",
        "Every threshold is a share of what a predictor gets that always gives the same answer. With --classes it is taken "
        "for ln C and 1 - 1/C. A run directory of the monitor knows it. Otherwise the first record stands for it, which "
        "initial weights can put at 1.3 to 30 times that, and a line on standard error says so.",
    )
    null.add_argument(
        "--null-loss",
        type=_number("a loss over 0", lambda value: value > 0),
        metavar="X",
        help="held-out loss of the best constant prediction: of a mean squared error the variance of the validation "
        "targets, of a cross-entropy the entropy of the classes' shares, -(p1 ln p1 + p2 ln p2 + ...)",
    )
    null.add_argument(
        "--null-error",
        type=_number("a share over 0, up to 1", lambda value: 0 < value <= 1),
        metavar="X",
        help="held-out error of the best constant answer: 1 minus the share of the commonest class, .01 at 99:1",
    )


def _add_outcome(parser: argparse.ArgumentParser) -> None:
    outcome = parser.add_argument_group(
        "what counts", "Where success is another number than accuracy, it can decide in its place."
    )
    outcome.add_argument(
        "--outcome",
        metavar="NAME",
        help="column, or logged name, that decides in place of held-out accuracy (if more is better) or of held-out loss "
        "(if less is), such as val/f1; max:NAME and min:NAME say which if the name does not",
    )
    outcome.add_argument("--outcome-direction", choices=("max", "min"), help="whether more or less of it is better")
    outcome.add_argument(
        "--outcome-null",
        type=_number("a number from 0 on", lambda value: value >= 0),
        metavar="X",
        help="what a constant answer gets: measure it with a model that ignores its input; .5 of an AUC is known",
    )
    outcome.add_argument(
        "--outcome-best",
        type=_number("a number over 0", lambda value: value > 0),
        metavar="X",
        help="what a perfect predictor gets, 100 of a percentage (default: 1)",
    )


def run(args: argparse.Namespace) -> int:
    """Read, detect, print; returns the exit code."""
    if args.figure:
        from lightning_interp.cli.picture import check_figure

        check_figure(args.figure)
    read = read_input(args.file, args)
    history, timeline = read.history, detect(read)
    line = estimate_line(timeline, read.outcome)
    if (args.file[0] / "run.json").is_file():
        timeline = _in_its_state(args.file[0], timeline)
    if line is not None:
        print(line, file=sys.stderr)
    if args.figure:
        _draw(args.figure, history, timeline)
    if args.json:
        print_json(
            timeline.to_dict() | {"axis": history.axis.kind, "columns": dict(history.mapping), "notes": [*history.notes]}
        )
    else:
        from lightning_interp.cli.phase_text import show

        show(history, timeline)
        if args.states:
            _show_states(history)
    return DONE


def detect(read: PhasesInput) -> "Timeline":
    """The timeline of a history, with one of each further validation loader."""
    from dataclasses import replace

    from lightning_interp.core.judged import facts_for, facts_of_loader, judged_series, loader_names, of_loader
    from lightning_interp.phases import detect_phases
    from lightning_interp.phases.logged_words import judged_as_logged

    series = read.history.series
    timeline = detect_phases(judged_series(series, read.outcome), **facts_for(read.outcome, read.facts))
    if read.logged is not None:
        timeline = judged_as_logged(timeline, read.logged)
    loaders = {
        name: replace(detect_phases(of_loader(series, name), **facts_of_loader(read.facts)), intensities={})
        for name in loader_names(series)
    }
    return replace(timeline, loaders=loaders)


def _show_states(history: "MetricsHistory") -> None:
    from lightning_interp.cli.phase_text import show_states
    from lightning_interp.phases.history_table import rows_of
    from lightning_interp.phases.latent_states import FEATURES, latent_states
    from lightning_interp.phases.state_model import STATES

    rows = list(rows_of(history.series, tuple(FEATURES)))
    show_states(latent_states([step for step, _ in rows], [values for _, values in rows], STATES))


def _columns(text: str) -> tuple[str, str]:
    from lightning_interp.core.logged_curves import CURVES
    from lightning_interp.measures.curve_names import spelled_as_record  # late: --help needs none of it

    name, found, column = text.partition("=")
    name = spelled_as_record(name.strip().lower())
    if not found or not column.strip() or name not in (*CURVES, "step"):
        raise argparse.ArgumentTypeError(f"expected NAME=COLUMN with NAME one of {', '.join(CURVES)}, step; got {text!r}")
    return name, column.strip()


def _classes(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 2:
        raise argparse.ArgumentTypeError(f"expected a whole number of classes from 2 on, got {text!r}")
    return count


def _number(expected: str, holds: Callable[[float], bool]) -> Callable[[str], float]:
    """A reader of one number, for argparse."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and holds(value)):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
        return value

    return read


def _in_its_state(run_dir: Path, timeline: "Timeline") -> "Timeline":
    """The timeline of a run as far as the run is analyzed and trained; of a file it is always of the whole file."""
    from lightning_interp.core.errors import RunError
    from lightning_interp.store.run import open_run

    try:
        return open_run(run_dir).standing().judge(timeline)
    except RunError:  # a run.json of which only what the history needs is there
        return timeline


def _draw(target: Path, history: "MetricsHistory", timeline: "Timeline") -> None:
    from lightning_interp.cli.picture import write_picture
    from lightning_interp.dashboards.figures import phase_timeline_figure

    write_picture(phase_timeline_figure(history.series, timeline, title=f"Phases of {history.path.name}"), target)
