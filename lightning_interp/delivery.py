# SPDX-License-Identifier: Apache-2.0
"""Finished results on their way to people: rows to loggers, phase changes to alerts, console and callbacks."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lightning_interp.console import say, warn
from lightning_interp.dashboards.feed import STEP_KEY, ResultFeed
from lightning_interp.dashboards.loggers import LightningLogger, LoggerSet
from lightning_interp.phases import PhaseChange, describe, phase_changes
from lightning_interp.run_start import Progress
from lightning_interp.timeline import Phase, Timeline

PhaseCallback = Callable[[PhaseChange], None]


class Delivery:
    """Carries results from a run directory to loggers and users; every call but the feed's own is on the training thread.

    Args:
        run_dir: Run directory.
        names: Scalar names loggers get.
        loggers: Lightning loggers.
        on_phase: Callbacks by phase name.
        strict: Pass on what a callback raises.
        progress: What an earlier start delivered and announced; it is not told again.
    """

    def __init__(
        self,
        run_dir: Path,
        names: tuple[str, ...],
        loggers: Sequence[LightningLogger],
        *,
        on_phase: Mapping[str, Sequence[PhaseCallback]],
        strict: bool,
        progress: Progress | None = None,
    ) -> None:
        self.timeline: Timeline | None = None
        self.latest: dict[str, float] = {}
        self._step = progress.delivered_step if progress is not None else -1
        self._announced = _announced(progress)
        self._on_phase, self._strict = on_phase, strict
        self._loggers = LoggerSet(loggers)
        self._feed = ResultFeed(run_dir, names, delivered_step=self._step)

    @property
    def step(self) -> int:
        """Optimizer step of the latest row delivered, -1 for none."""
        return self._step

    def deliver(self) -> None:
        """Hand over everything that is ready. Reads no file."""
        update = self._feed.take()
        for notice in update.notices:
            say(notice)
        for row in update.rows:
            self._loggers.log(row)
            self.latest = row.metrics
            self._step = int(row.metrics[STEP_KEY])
        if update.timeline is not None and update.timeline is not self.timeline:
            self.timeline = update.timeline
            for change in phase_changes(self._announced, update.timeline):
                self._tell(change)
            self._announced = update.timeline

    @property
    def announced(self) -> tuple[tuple[str, int, int | None], ...]:
        """Phases told so far: (name, start, end or None)."""
        return tuple((phase.name, phase.start, phase.end) for phase in self._announced.phases) if self._announced else ()

    def finish(self) -> None:
        """Read what the analyzer committed last, deliver it, and put the outcome into summaries."""
        self.stop()
        self._feed.read_now()
        self.deliver()
        if self.timeline is not None:
            self._loggers.summarize(self.timeline)

    def stop(self) -> None:
        """End the helper thread that reads."""
        self._feed.stop()

    def _tell(self, change: PhaseChange) -> None:
        text = describe(change)
        say(text)
        self._loggers.alert(f"{change.name} {change.kind}", text)
        if change.kind == "began":
            for call in self._on_phase.get(change.name, ()):
                self._call(call, change)

    def _call(self, call: PhaseCallback, change: PhaseChange) -> None:
        """Run a user's callback; what it raises is reported, not passed on."""
        try:
            call(change)
        except Exception as err:
            if self._strict:
                raise
            warn(f"on_phase callback for {change.name} failed ({type(err).__name__}: {err})")


def _announced(progress: Progress | None) -> Timeline | None:
    """The phases a checkpoint knows to have been told, in the shape that changes are counted from."""
    if progress is None or not progress.announced:
        return None
    phases = tuple(Phase(name, start, end, 0.0, (start, start)) for name, start, end in progress.announced)
    return Timeline("unknown", phases)
