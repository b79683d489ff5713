# SPDX-License-Identifier: Apache-2.0
"""New results of a run directory, read and parsed by a helper thread, picked up ready-made by the training thread."""

import json
import math
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from lightning_interp.records import Record
from lightning_interp.store.jsonl import read_lines
from lightning_interp.store.layout import ANALYSIS, PHASES, RECORDS
from lightning_interp.store.recordlog import to_record
from lightning_interp.timeline import INTENSITY_NAMES, PHASE_NAMES, Timeline

POLL_S = 0.5
PREFIX = "interp/"
STEP_KEY = "interp/step"
PHASE_KEY = "interp/phase"
"""Number of the phase in `PHASE_NAMES`, so that every logger can draw it."""


@dataclass(frozen=True)
class Row:
    """One snapshot's results as loggers take them: the same keys in every row, NaN where there is no value."""

    step: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Update:
    """What came since the last look."""

    rows: tuple[Row, ...] = ()
    timeline: Timeline | None = None
    notices: tuple[str, ...] = ()


class ResultFeed:
    """Follows a run directory.

    Args:
        run_dir: Run directory.
        names: Scalar names loggers get; a value outside them stays in the run directory.
        skip_until: Steps up to this one were logged by an earlier start of the training.
    """

    def __init__(self, run_dir: Path, names: tuple[str, ...], *, skip_until: int | None = None) -> None:
        self._run_dir, self._names, self._skip_until = run_dir, names, skip_until
        self._offset = 0
        self._waiting: list[Record] = []
        self._rows: deque[Row] = deque()
        self._timeline: Timeline | None = None
        self._notices: list[str] = []
        self._told = 0
        self._reading = threading.Lock()
        self._stop = threading.Event()
        # Lines that are there already belong to earlier starts of the training.
        _, self._offset = read_lines(run_dir / RECORDS)
        self._thread = threading.Thread(target=self._follow, name="interp-feed", daemon=True)
        self._thread.start()

    def take(self) -> Update:
        """Everything ready since the last call. Reads no file."""
        rows = tuple(self._rows.popleft() for _ in range(len(self._rows)))
        notices = tuple(self._notices[self._told :])
        self._told += len(notices)
        return Update(rows, self._timeline, notices)

    def read_now(self) -> None:
        """Read what the analyzer committed; the helper thread does this by itself, closing does it once more."""
        with self._reading:
            lines, self._offset = read_lines(self._run_dir / RECORDS, self._offset)
            self._waiting += [to_record(line) for line in lines]
            self._read_notices()
            timeline = self._read_timeline()
            if timeline is not None:
                self._timeline = timeline
                self._release(timeline)

    def stop(self) -> None:
        """End the helper thread."""
        self._stop.set()
        self._thread.join(5.0)

    def _follow(self) -> None:
        while not self._stop.wait(POLL_S):
            self.read_now()

    def _release(self, timeline: Timeline) -> None:
        """Turn records into rows as soon as the timeline covers their step: it is committed after the record."""
        points = {name: dict(timeline.intensities.get(name, ())) for name in INTENSITY_NAMES}
        covered = max((step for series in points.values() for step in series), default=-1)
        ready = [record for record in self._waiting if record.step <= covered or not record.values]
        self._waiting = [record for record in self._waiting if record not in ready]
        for record in ready:
            if record.values and (self._skip_until is None or record.step > self._skip_until):
                self._rows.append(Row(record.step, self._metrics(record, timeline, points)))

    def _metrics(self, record: Record, timeline: Timeline, points: dict[str, dict[int, float]]) -> dict[str, float]:
        metrics = {PREFIX + name: record.values.get(name, math.nan) for name in self._names}
        metrics |= {f"{PREFIX}intensity_{name}": points[name].get(record.step, math.nan) for name in INTENSITY_NAMES}
        return {**metrics, PHASE_KEY: _phase_code(timeline, record.step), STEP_KEY: float(record.step)}

    def _read_timeline(self) -> Timeline | None:
        try:
            return Timeline.from_dict(json.loads((self._run_dir / PHASES).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def _read_notices(self) -> None:
        try:
            notices = json.loads((self._run_dir / ANALYSIS).read_text(encoding="utf-8"))["notices"]
        except FileNotFoundError:
            return
        self._notices += [text for text in notices if text not in self._notices]


def _phase_code(timeline: Timeline, step: int) -> float:
    names = [phase.name for phase in timeline.phases if phase.start <= step]
    return float(PHASE_NAMES.index(names[-1])) if names else math.nan
