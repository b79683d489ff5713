# SPDX-License-Identifier: Apache-2.0
"""New results of a run directory, read and parsed by a helper thread, picked up ready-made by the training thread."""

import json
import math
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from lightning_interp.console import warn
from lightning_interp.errors import MetricsError
from lightning_interp.records import Record
from lightning_interp.store.jsonl import read_lines
from lightning_interp.store.layout import ANALYSIS, PHASES, RECORDS
from lightning_interp.store.manifest import read_manifest
from lightning_interp.store.recordlog import standing
from lightning_interp.timeline import INTENSITY_NAMES, PHASE_NAMES, Timeline

POLL_S = 0.5
SHARE = 0.002
"""Most of the time that reading may take, live: while it parses, the training's own thread cannot run python."""
LONGEST_PAUSE_S = 5.0
"""What an analyzer has found is read by then, however much there was to read before."""
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
        delivered_step: Latest step that an earlier start of the training delivered; -1 for none. Later ones that stand are
            delivered now, so that a killed training loses no row.
    """

    def __init__(self, run_dir: Path, names: tuple[str, ...], *, delivered_step: int = -1) -> None:
        self._run_dir, self._names, self._seen_step = run_dir, names, delivered_step
        self._manifest = read_manifest(run_dir)
        self._offset = 0
        self._waiting: list[Record] = []
        self._rows: deque[Row] = deque()
        self._timeline: Timeline | None = None
        self._notices: list[str] = []
        self._failed = False
        self._marks: dict[str, tuple[int, int]] = {}
        self._reading = threading.Lock()
        self._stop = threading.Event()
        self._read_notices()
        self._told = len(self._notices)  # an earlier start told them
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
            try:
                self._read()
            except (OSError, ValueError, KeyError, MetricsError) as err:
                if not self._failed:
                    self._failed = True
                    warn(f"results in {self._run_dir} cannot be read ({type(err).__name__}: {err}); they are tried again")

    def stop(self) -> None:
        """End the helper thread."""
        self._stop.set()
        self._thread.join(5.0)

    def _follow(self) -> None:
        pause = POLL_S
        while not self._stop.wait(pause):
            started = time.thread_time()
            self.read_now()
            pause = min(LONGEST_PAUSE_S, max(POLL_S, (time.thread_time() - started) / SHARE))

    def _read(self) -> None:
        lines, self._offset = read_lines(self._run_dir / RECORDS, self._offset)
        self._waiting += [record for record in standing(lines, self._manifest) if self._is_new(record)]
        self._read_notices()
        if self._changed(PHASES):
            self._timeline = Timeline.from_dict(json.loads((self._run_dir / PHASES).read_text(encoding="utf-8")))
        if self._timeline is not None and self._waiting:
            self._release(self._timeline)

    def _is_new(self, record: Record) -> bool:
        """Whether loggers have no row of this step yet; records come in their steps' order.

        A record without values (a damaged snapshot) makes no row.
        """
        new = bool(record.values) and record.step > self._seen_step
        self._seen_step = record.step if new else self._seen_step
        return new

    def _release(self, timeline: Timeline) -> None:
        """Turn records into rows as soon as the timeline covers their step: it is committed after the record."""
        covered = max((series[-1][0] for series in timeline.intensities.values() if series), default=-1)
        for record in self._waiting:
            if record.step <= covered:
                self._rows.append(Row(record.step, self._metrics(record, timeline)))
        self._waiting = [record for record in self._waiting if record.step > covered]

    def _metrics(self, record: Record, timeline: Timeline) -> dict[str, float]:
        metrics = {PREFIX + name: record.values.get(name, math.nan) for name in self._names}
        metrics |= {f"{PREFIX}intensity_{name}": timeline.intensity(name, record.step) for name in INTENSITY_NAMES}
        return {**metrics, PHASE_KEY: _phase_code(timeline, record.step), STEP_KEY: float(record.step)}

    def _read_notices(self) -> None:
        if self._changed(ANALYSIS):
            notices = json.loads((self._run_dir / ANALYSIS).read_text(encoding="utf-8"))["notices"]
            self._notices += [text for text in notices if text not in self._notices]

    def _changed(self, name: str) -> bool:
        """Whether a file is there and is another than at the last look; parsing costs the training's interpreter time."""
        try:
            state = (self._run_dir / name).stat()
        except FileNotFoundError:
            return False
        mark = (state.st_mtime_ns, state.st_ino)
        changed = self._marks.get(name) != mark
        self._marks[name] = mark
        return changed


def _phase_code(timeline: Timeline, step: int) -> float:
    names = [phase.name for phase in timeline.phases if phase.start <= step]
    return float(PHASE_NAMES.index(names[-1])) if names else math.nan
