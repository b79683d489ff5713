# SPDX-License-Identifier: Apache-2.0
"""Scalars of a TensorBoard log on disk (``events.out.tfevents.*``), by TensorBoard's own reader (extra ``dashboards``)."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lightning_interp.core.errors import MetricsError
from lightning_interp.sources.metrics.axis import STEP_NAMES
from lightning_interp.sources.metrics.format import Asked, Row
from lightning_interp.sources.metrics.numbers import LARGEST_STEP
from lightning_interp.sources.metrics.text_file import check_file

Event = tuple[int, float, float]
"""Step, time of writing in seconds, value."""

EVENT_FILE = "events.out.tfevents"
"""How the names of event files begin."""

_KEEP = {"scalars": 0, "tensors": 0, "images": 1, "audio": 1, "histograms": 1, "distributions": 1}
"""Most entries of a tag, by kind; 0 keeps all of them. TensorBoard's defaults would thin the scalars out."""
_NO_METRIC = frozenset(("epoch", *STEP_NAMES))
_NUMBERS = frozenset((1, 2, 3, 4, 5, 6, 9, 14, 17, 19, 22, 23))
"""Types of tensors that are numbers, as TensorFlow counts them: floats and whole numbers; 7 are texts."""
_SHOWN = 10


def matches(path: Path) -> Path | None:
    """The log a path stands for, None if there is none.

    Args:
        path: An event file, a folder that holds some, or one with exactly one such folder somewhere below it.

    Returns:
        The event file, or the folder whose event files belong to one run, resumed or not.

    Raises:
        MetricsError: More than one run lies below the folder.
    """
    if path.name.startswith(EVENT_FILE) and path.is_file():
        return path
    found = sorted(_run_folders(path)) if path.is_dir() else []
    if len(found) > 1:
        names = [str(folder.relative_to(path)) for folder in found[:_SHOWN]] + ["…"] * (len(found) > _SHOWN)
        raise MetricsError(f"{path}: holds {len(found)} TensorBoard runs. Name one of them: {', '.join(names)}.")
    return found[0] if found else None


def rows(path: Path, asked: Asked) -> Iterator[Row]:
    """Rows of a TensorBoard log, a row per step, ascending; in place of a line, the number of the row.

    Where a run was resumed, its steps after the checkpoint may be logged twice: of several values of one tag at one step
    the last written stands. A start marked by SummaryWriter's ``purge_step`` takes back what came after that step, as in
    TensorBoard. A last record that is cut short, and whatever follows a damaged one in its file, is left out.

    Args:
        path: An event file, or a folder whose event files belong to one run.
        asked: Is told that rows are counted as records.

    Raises:
        MetricsError: TensorBoard is missing, cannot read the log or finds no scalar in it, or a step is no step.
    """
    asked.row = "record"
    by_step: dict[int, dict[str, float]] = {}
    for tag, events in _events(path, asked).items():
        for step, _, value in sorted(events, key=lambda event: event[1]):  # names do not order files of one second
            by_step.setdefault(step, {})[tag] = value
    if not by_step:
        raise MetricsError(f"{path}: TensorBoard finds no scalar in it: nothing was logged, or it is no event file.")
    if min(by_step) < 0:
        raise MetricsError(f"{path}: step {min(by_step)} is negative. Log with the optimizer step, from 0 on.")
    if max(by_step) > LARGEST_STEP:
        raise MetricsError(f"{path}: step {max(by_step)} is larger than any. Log with the optimizer step, up to 2^53.")
    for number, step in enumerate(sorted(by_step), start=1):
        yield number, step, list(by_step[step].items())


def _run_folders(root: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(root):
        if any(name.startswith(EVENT_FILE) for name in files):
            below.clear()  # add_scalars and add_hparams write into folders of their own, below that of the run
            yield Path(folder)


def _events(path: Path, asked: Asked) -> dict[str, list[Event]]:
    """Scalars of each tag, from summaries of either kind."""
    log = _load(path)
    kinds = log.Tags()
    found: dict[str, list[Event]] = {}
    for tag in kinds["scalars"]:
        found[tag] = [(event.step, event.wall_time, event.value) for event in log.Scalars(tag)]
    for tag in kinds["tensors"]:
        found.setdefault(tag, []).extend(_rank_zero(tag, log.Tensors(tag), asked))
    return {tag: events for tag, events in found.items() if tag not in _NO_METRIC}


def _rank_zero(tag: str, events: Iterable[Any], asked: Asked) -> Iterator[Event]:
    from tensorboard.util.tensor_util import make_ndarray

    for event in events:
        if event.tensor_proto.tensor_shape.dim or event.tensor_proto.dtype not in _NUMBERS:  # a text is of rank 0, too
            continue
        try:
            value = float(make_ndarray(event.tensor_proto))
        except (TypeError, ValueError) as err:
            asked.note(f"`{tag}`, step {event.step:,}: its content is damaged ({err}), left out.")
        else:
            yield event.step, event.wall_time, value


def _load(path: Path) -> Any:
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as err:
        raise MetricsError(
            f"{path}: reading a TensorBoard log needs the package tensorboard ({err}). "
            "Install it: pip install 'lightning-interp[dashboards]'."
        ) from err
    for file in path.iterdir() if path.is_dir() else (path,):
        if EVENT_FILE in file.name:
            check_file(file)
    try:
        return EventAccumulator(str(path), size_guidance=_KEEP).Reload()
    except Exception as err:  # of several packages, without a common base: OpError, DecodeError, DirectoryDeletedError
        raise MetricsError(f"{path}: TensorBoard cannot read it ({type(err).__name__}: {err}).") from err
