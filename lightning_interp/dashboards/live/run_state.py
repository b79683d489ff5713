# SPDX-License-Identifier: Apache-2.0
"""Where a run stands, in sentences: its training, its analyzer, and what seems to have died."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_interp.core.processes import is_alive, words_of
from lightning_interp.core.system_trouble import free_bytes, full_words, is_low
from lightning_interp.dashboards.report import snapshots_to_go
from lightning_interp.dashboards.run_view import RunView
from lightning_interp.store.analysis_state import queue_words
from lightning_interp.store.health_log import events, times
from lightning_interp.store.heartbeat import Heartbeat, read_heartbeat
from lightning_interp.store.standing import SILENT_S

STALE_S = 90.0
"""An analyzer process gives a sign of life every 5 s, and is halted for 50 s at most."""
GONE_S = 15.0
"""An analyzer whose process is not there is worth a word after so long: another may just be taking its place."""
ANALYZER = "lightning_interp.analysis.worker"
"""In the command line of every analyzer."""

_TRAINING = {
    "training": "Training",
    "finished": "Training finished",
    "failed": "Training failed",
    "interrupted": "Training was interrupted",
}


@dataclass(frozen=True)
class RunState:
    """Where a run stands.

    Attributes:
        training: The training in one sentence.
        analyzer: The analyzer in one sentence.
        warnings: What seems to have died, one sentence each.
        ended: Whether nothing more is to come: the training is over, and so is the analysis.
    """

    training: str
    analyzer: str
    warnings: tuple[str, ...]
    ended: bool


def state_of(run: RunView, *, now: float) -> RunState:
    """Where a run stands at `now`, in seconds since 1970."""
    status = "training" if run.manifest is None else str(run.manifest.status)
    taken = last_snapshot(run)
    sentence = _TRAINING.get(status, f"Training: {status}")
    sentence += f", latest snapshot at step {taken:,}." if taken is not None else "."
    stage = str(run.analysis.get("stage", ""))
    ended = status != "training" and stage in ("finished", "stopped", "failed", "")
    warnings = () if ended else _signs_of_death(run, status, stage, now)
    if status == "training" or stage != "finished":
        warnings += _full_disk(run)
    return RunState(sentence, _analyzer(run.analysis, stage, taken, waiting=snapshots_to_go(run)), warnings, ended)


def last_snapshot(run: RunView) -> int | None:
    """Step of the latest snapshot that was written; None where the health log names none."""
    written = (row.get("step") for row in reversed(run.health) if events([row], "snapshot"))  # the log of a long run is long
    return next((step for step in written if isinstance(step, int)), None)


def heartbeat_age_s(run_dir: Path, *, now: float) -> float | None:
    """Seconds since the analyzer process gave a sign of life; None where it never did, or the clocks differ."""
    beat = read_heartbeat(run_dir)
    return now - beat.at if beat is not None and now - beat.at >= -1 else None


def duration(seconds: float) -> str:
    """A time in the unit that suits it.

    >>> duration(42), duration(600), duration(7300)
    ('42 s', '10 min', '2.0 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _analyzer(analysis: Mapping[str, Any], stage: str, taken: int | None, *, waiting: int) -> str:
    waits = f"; {waiting:,} snapshot{'s' if waiting > 1 else ''} to go" if waiting else ""
    if stage == "running":
        return f"{_doing(analysis, taken)}{waits}."
    said = {
        "": "The analyzer has not begun",
        "starting": "The analyzer is starting",
        "finished": "The analysis is complete",
        "stopped": "The analyzer stopped",
        "failed": "The analyzer failed",
    }
    return f"{said.get(stage, f'Analyzer: {stage}')}{waits}."


def _doing(analysis: Mapping[str, Any], taken: int | None) -> str:
    of_all = "" if taken is None else f" of {taken:,}"
    observing, last = analysis.get("observing"), analysis.get("last_step")
    if queue := queue_words(analysis):
        return f"The analyzer {queue}; it goes on when one of them ends or hands its turn on"
    if isinstance(observing, int):
        return f"The analyzer is at step {observing:,}{of_all}"
    if analysis.get("fitting"):
        return "The analyzer is fitting components"
    return f"The analyzer has reached step {last:,}{of_all}" if isinstance(last, int) else "The analyzer waits for snapshots"


def _full_disk(run: RunView) -> tuple[str, ...]:
    """That there is no room for what is to come, in a sentence; empty if there is."""
    if run.path is None:
        return ()
    taken = next((row.get("bytes") for row in reversed(run.health) if events([row], "snapshot")), None)
    free = free_bytes(run.path)
    return (f"{full_words(run.path, free)}.",) if is_low(free, taken if isinstance(taken, int) else 0) else ()


def _silence(run_dir: Path, analysis: Mapping[str, Any], status: str, age: float) -> str:
    """What an analyzer that gave no sign of life for so many seconds may have come to; empty if it is not worth a word."""
    beat = read_heartbeat(run_dir)
    known = beat is not None and beat.start_id == analysis.get("start_id")  # else of one that worked before
    there = _is_there(beat) if beat is not None and known else None
    if age <= (GONE_S if there is False else STALE_S):
        return ""
    after = " once the training has ended" if status == "training" else ""
    finish = f"`lightning-interp analyze {run_dir} --module pkg.mod:build` finishes its work{after}"
    if beat is None or not known or beat.host != socket.gethostname():
        where = "" if beat is None or not known else f", as process {beat.pid} of {beat.host}"
        return f"No sign of life from the analyzer for {duration(age)}{where}: it may have been killed. {finish}."
    if there is False:
        return (
            f"The analyzer (process {beat.pid}) is gone since {duration(age)} without having finished: it was killed, "
            f"or the machine was started again. {finish}."
        )
    there_words = "is there, but halted or hanging" if there else "may be halted or hang"
    return (
        f"No sign of life from the analyzer for {duration(age)}: its process {beat.pid} {there_words}. End it with "
        f"`kill -9 {beat.pid}`; {finish}."
    )


def _is_there(beat: Heartbeat) -> bool | None:
    """Whether the process that gave a sign of life is there; None if that cannot be known from this machine."""
    if beat.host != socket.gethostname():
        return None
    words = words_of(beat.pid)
    return is_alive(beat.pid) if not words or ANALYZER in words else False  # else another has its number now


def _signs_of_death(run: RunView, status: str, stage: str, now: float) -> tuple[str, ...]:
    found = []
    age = None if run.path is None or stage not in ("starting", "running") else heartbeat_age_s(run.path, now=now)
    if age is not None and run.path is not None and (said := _silence(run.path, run.analysis, status, age)):
        found.append(said)
    latest = times(run.health[-1:])
    if status == "training" and latest and now - latest[0] > SILENT_S:
        found.append(
            f"No word from the training for {duration(now - latest[0])}: it may have been killed, or is not stepping."
        )
    return tuple(found)
