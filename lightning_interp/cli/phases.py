# SPDX-License-Identifier: Apache-2.0
"""``lightning-interp phases``: the phases of learning in a metrics history, as a table, as JSON or as a picture."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_interp.cli.exit_codes import DONE
from lightning_interp.cli.plain_json import print_json
from lightning_interp.core.errors import MetricsError
from lightning_interp.sources.metrics import registry

if TYPE_CHECKING:
    from lightning_interp.core.timeline import Timeline
    from lightning_interp.sources.metrics.history import MetricsHistory


EPILOG = """examples:
  lightning-interp phases lightning_logs/version_0/metrics.csv --classes 10
  lightning-interp phases wandb/offline-run-20260102_030405-a1b2c3d4
  lightning-interp phases lightning_logs/version_0
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
    parser.add_argument("file", type=Path, metavar="FILE", help=kinds)
    parser.add_argument("--json", action="store_true", help="print the timeline as one JSON object on stdout")
    parser.add_argument(
        "--classes", type=_classes, metavar="C", help="number of classes, so that chance is ln C (default: first record)"
    )
    parser.add_argument("--figure", type=Path, metavar="FILE", help="also write a picture: .html (needs no network) or .png")
    parser.add_argument(
        "--states",
        action="store_true",
        help="also show which latent states the run went through (in the text, not in the JSON)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read, detect, print; returns the exit code."""
    if args.figure:
        from lightning_interp.cli.picture import check_figure

        check_figure(args.figure)
    history, classes = _read(args.file, args.classes)
    from lightning_interp.phases import detect_phases

    timeline = detect_phases(history.series, n_classes=classes)
    if _is_run(args.file):
        timeline = _in_its_state(args.file, timeline)
    if args.figure:
        _draw(args.figure, history, timeline)
    if args.json:
        print_json(timeline.to_dict())
    else:
        from lightning_interp.cli.phase_text import show

        show(history, timeline)
        if args.states:
            _show_states(history)
    return DONE


def _show_states(history: "MetricsHistory") -> None:
    from lightning_interp.cli.phase_text import show_states
    from lightning_interp.phases.history_table import rows_of
    from lightning_interp.phases.latent_states import FEATURES, latent_states
    from lightning_interp.phases.state_model import STATES

    rows = list(rows_of(history.series, tuple(FEATURES)))
    show_states(latent_states([step for step, _ in rows], [values for _, values in rows], STATES))


def _classes(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 2:
        raise argparse.ArgumentTypeError(f"expected a whole number of classes from 2 on, got {text!r}")
    return count


def _read(path: Path, classes: int | None) -> "tuple[MetricsHistory, int | None]":
    from lightning_interp.sources.metrics.history import read_metrics

    if not _is_run(path):
        return read_metrics(path), classes
    content = _read_json(path / "run.json")
    found = content.get("n_classes", _read_json(path / "analysis.json").get("n_classes"))
    resumed = {
        entry["attempt"]: entry["resumed_at"] for entry in content.get("attempts", ()) if entry.get("resumed_at") is not None
    }
    known = classes if classes is not None else found if isinstance(found, int) and found > 1 else None
    return read_metrics(path / "records.jsonl", resumed=resumed), known


def _is_run(path: Path) -> bool:
    return (path / "run.json").is_file()


def _in_its_state(run_dir: Path, timeline: "Timeline") -> "Timeline":
    """The timeline of a run as far as the run is analyzed and trained; of a file it is always of the whole file."""
    from lightning_interp.core.errors import RunError
    from lightning_interp.store.run import open_run

    try:
        return open_run(run_dir).standing().judge(timeline)
    except RunError:  # a run.json of which only what the history needs is there
        return timeline


def _read_json(path: Path) -> Mapping[str, Any]:
    """An object of a run directory, empty where it is not there yet."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as err:
        raise MetricsError(f"{path}: cannot be read ({err}). Copy the run directory again.") from err
    if not isinstance(content, dict):
        raise MetricsError(f"{path}: expected a JSON object, got {type(content).__name__}. Copy the run directory again.")
    return content


def _draw(target: Path, history: "MetricsHistory", timeline: "Timeline") -> None:
    from lightning_interp.cli.picture import write_picture
    from lightning_interp.dashboards.figures import phase_timeline_figure

    write_picture(phase_timeline_figure(history.series, timeline, title=f"Phases of {history.path.name}"), target)
