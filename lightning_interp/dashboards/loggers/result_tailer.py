# SPDX-License-Identifier: Apache-2.0
"""New results of a run directory, read and parsed by a helper thread, picked up ready-made by the training thread."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_interp.core.console import warn
from lightning_interp.core.errors import InterpError
from lightning_interp.core.records import Record
from lightning_interp.core.timeline import Timeline
from lightning_interp.dashboards.loggers.live_figure import Drawn, LiveFigure
from lightning_interp.dashboards.loggers.rows import Row, covered_step, row_of
from lightning_interp.store.analysis_state import queue_words, read_analysis
from lightning_interp.store.file_identity import ChangedFiles
from lightning_interp.store.layout import ANALYSIS, PHASES
from lightning_interp.store.manifest import Status, read_manifest
from lightning_interp.store.recordlog import read_rows, surviving_records
from lightning_interp.store.standing import measured_steps, standing_of
from lightning_interp.store.timeline_file import read_timeline

POLL_S = 0.5
SHARE = 0.002
"""Most of the time that reading may take, live: while it parses, the training's own thread cannot run python."""
LONGEST_PAUSE_S = 5.0
"""What an analyzer has found is read by then, however much there was to read before."""


@dataclass(frozen=True)
class NewResults:
    """What came since the last look."""

    rows: tuple[Row, ...] = ()
    timeline: Timeline | None = None
    notices: tuple[str, ...] = ()
    figure: Drawn | None = None


class ResultTailer:
    """Follows a run directory.

    Args:
        run_dir: Run directory.
        names: Scalar names loggers get; a value outside them stays in the run directory.
        delivered_step: Latest step that an earlier start of the training delivered; -1 for none. Later ones that stand are
            delivered now, so that a killed training loses no row.
        make_figure: Makes the figure of the losses ready for loggers; none is drawn where it is None.
        on_read: Called by the helper thread after each look, with the bytes of records.jsonl that were read.
    """

    def __init__(
        self,
        run_dir: Path,
        names: tuple[str, ...],
        *,
        delivered_step: int = -1,
        make_figure: Callable[[Any], Any] | None = None,
        on_read: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._run_dir, self._names, self._seen_step = run_dir, names, delivered_step
        self._manifest = read_manifest(run_dir)
        self._figure = None if make_figure is None else LiveFigure(run_dir.name, self._manifest, make_figure, share=SHARE)
        self._on_read = on_read
        self.read_bytes = 0
        self.queue = ""  # whom the analyzer waited for at the latest look, in words
        self._waiting: list[Record] = []
        self._recorded: dict[int, bool] = {}
        self._rows: deque[Row] = deque()
        self._timeline: Timeline | None = None
        self._notices: list[str] = []
        self._failed = False
        self._files = ChangedFiles(run_dir)
        self._reading = threading.Lock()
        self._stop = threading.Event()
        self._read_notices()
        self._told = len(self._notices)  # an earlier start told them
        self._thread = threading.Thread(target=self._follow, name="interp-feed", daemon=True)
        self._thread.start()

    def poll(self) -> NewResults:
        """Everything ready since the last call. Reads no file."""
        rows = tuple(self._rows.popleft() for _ in range(len(self._rows)))
        notices = tuple(self._notices[self._told :])
        self._told += len(notices)
        return NewResults(rows, self._timeline, notices, None if self._figure is None else self._figure.take())

    @property
    def analyzed_step(self) -> int | None:
        """Last step that was analyzed by the latest look, None for none."""
        return max((step for step, measured in tuple(self._recorded.items()) if measured), default=None)

    def read_now(self) -> None:
        """Read what the analyzer committed; the helper thread does this by itself, closing does it once more."""
        with self._reading:
            try:
                self._read()
            except (OSError, ValueError, KeyError, InterpError) as err:
                if not self._failed:
                    self._failed = True
                    warn(f"results in {self._run_dir} cannot be read ({type(err).__name__}: {err}); they are tried again")

    def settle(self, status: Status, unwritten: int = 0) -> Timeline | None:
        """The timeline in the state that the end of the training puts it in, after `read_now`; reads no large file.

        Args:
            status: How the training ended.
            unwritten: Snapshots that are still being written.
        """
        with self._reading:
            standing = standing_of(
                self._run_dir, self._manifest, self._recorded, stored=self._timeline, now=time.time(), status=status
            ).beside(unwritten)
            self._timeline = standing.judge_if_any(self._timeline)
            return self._timeline

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the helper thread; a second call does not wait for it again.

        Args:
            timeout_s: Longest to wait until it has ended.
        """
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join(timeout_s)

    def _follow(self) -> None:
        pause = POLL_S
        while not self._stop.wait(pause):
            started = time.thread_time()
            self.read_now()
            self._on_read(self.read_bytes)
            pause = min(LONGEST_PAUSE_S, max(POLL_S, (time.thread_time() - started) / SHARE))
            if self._figure is not None:  # has a share of its own
                self._figure.draw_if_due(self._timeline)

    def _read(self) -> None:
        lines, self.read_bytes = read_rows(self._run_dir, self.read_bytes)
        new = surviving_records(lines, self._manifest)
        self._recorded |= measured_steps(new)
        for record in new:
            if self._is_new(record):
                self._waiting.append(record)
            elif self._figure is not None:
                self._figure.add(record)
        self._read_notices()
        if self._files.changed(PHASES):
            self._timeline = read_timeline(self._run_dir)
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
        """Turn records into rows as soon as the timeline covers their step."""
        covered = covered_step(timeline)
        for record in self._waiting:
            if record.step <= covered:
                self._rows.append(row_of(record, timeline, self._names))
                if self._figure is not None:
                    self._figure.add(record)
        self._waiting = [record for record in self._waiting if record.step > covered]

    def _read_notices(self) -> None:
        if self._files.changed(ANALYSIS):
            analysis = read_analysis(self._run_dir)
            self.queue = queue_words(analysis)
            self._notices += [text for text in analysis.get("notices", ()) if text not in self._notices]
