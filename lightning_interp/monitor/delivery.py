# SPDX-License-Identifier: Apache-2.0
"""Finished results on their way to people: rows to loggers, phases and alarms to alerts, console and callbacks."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lightning_interp.config.run_directory import Progress
from lightning_interp.core.console import say, warn
from lightning_interp.core.errors import RunError
from lightning_interp.core.timeline import Alarm, Phase, Timeline
from lightning_interp.dashboards.loggers.logger_set import LightningLogger, LoggerSet
from lightning_interp.dashboards.loggers.outcome import Outcome
from lightning_interp.dashboards.loggers.result_tailer import ResultTailer
from lightning_interp.dashboards.loggers.rows import row_keys
from lightning_interp.measures.label import NO_LABELS, Labels
from lightning_interp.monitor.listeners import Listeners
from lightning_interp.phases import PhaseChange, describe, phase_changes
from lightning_interp.phases.alarm_words import TOLD_AS_PHASES, alarm_sentence
from lightning_interp.store.delivered import Delivered, WandbTarget, read_delivered, write_delivered
from lightning_interp.store.manifest import Status, read_manifest


class Delivery:
    """Carries results from a run directory to loggers and users; every call but the tailer's own is on the training thread.

    Args:
        run_dir: Run directory.
        names: Scalar names loggers get.
        loggers: Lightning loggers.
        own: Labels of measures that are not built in.
        listeners: Called when a phase begins or an alarm is raised.
        strict: Pass on what a callback raises.
        progress: What an earlier start delivered and announced; it is not told again.
    """

    def __init__(
        self,
        run_dir: Path,
        names: tuple[str, ...],
        loggers: Sequence[LightningLogger],
        own: Labels = NO_LABELS,
        *,
        listeners: Listeners,
        strict: bool,
        progress: Progress | None = None,
    ) -> None:
        self.timeline: Timeline | None = None
        self.latest: dict[str, float] = {}
        self._step = progress.delivered_step if progress is not None else -1
        self._announced = _announced(progress)
        self._alarmed = [] if progress is None else list(progress.alarmed)
        self._listeners, self._strict = listeners, strict
        self._run_dir, self._names, self._before = run_dir, names, self._step
        self._noted: Delivered | None = None
        self._notes_fail = False
        self._earlier = _supplied_before(run_dir)
        self._delivers = True
        self._loggers = LoggerSet(loggers, row_keys(names), own, earlier=self._earlier)
        self._note(0)
        self._tailer = ResultTailer(
            run_dir,
            names,
            delivered_step=self._step,
            make_figure=self._loggers.draw if self._loggers.takes_figures else None,
            on_read=self._note,
        )

    @property
    def step(self) -> int:
        """Optimizer step of the latest row delivered, -1 for none."""
        return self._step

    @property
    def analyzed_step(self) -> int | None:
        """Last step that was analyzed by the latest look, also if its row is not delivered yet; None for none."""
        return self._tailer.analyzed_step

    @property
    def queue(self) -> str:
        """Whom the analyzer waited for at the latest look, in words; empty for nobody. Reads no file."""
        return self._tailer.queue

    @property
    def has_wandb(self) -> bool:
        """Whether a W&B run is supplied, which `lightning-interp sync` can go on with."""
        return bool(self._noted and self._noted.wandb)

    def deliver(self) -> None:
        """Hand over everything that is ready. Reads no file."""
        update = self._tailer.poll()
        for notice in update.notices:
            say(notice)
        for row in update.rows:
            self._loggers.log(row)
            self.latest = row.metrics
            self._step = row.step
        if update.figure is not None:
            step, drawn = update.figure
            self._loggers.show(drawn, step)
        if update.timeline is not None and update.timeline is not self.timeline:
            self.timeline = update.timeline
            for change in phase_changes(self._announced, update.timeline):
                self._tell(change)
            self._announced = update.timeline
            self._raise_new(update.timeline)

    @property
    def announced(self) -> tuple[tuple[str, int, int | None], ...]:
        """Phases told so far: (name, start, end or None)."""
        return tuple((phase.name, phase.start, phase.end) for phase in self._announced.phases) if self._announced else ()

    @property
    def alarmed(self) -> tuple[tuple[str, int], ...]:
        """Alarms raised so far: (name, optimizer step)."""
        return tuple(self._alarmed)

    def finish(self, status: Status, unwritten: int) -> None:
        """Read what the analyzer committed last, deliver it, and put the outcome into summaries if it is final.

        Args:
            status: How the training ended.
            unwritten: Snapshots that are still being written: without them no verdict is final.
        """
        self.stop()
        self._tailer.read_now()
        self.deliver()
        self.timeline = self._tailer.settle(status, unwritten)
        if self.timeline is not None:
            self._loggers.summarize(self.timeline, self._step)
        self._note(self._tailer.read_bytes)

    def leave(self, timeout_s: float, status: Status, unwritten: int) -> None:
        """The training broke off: read what there is, for `timeout_s` at most, and give loggers nothing more."""
        self._tailer.stop(timeout_s)
        self._tailer.read_now()
        self.timeline = self._tailer.settle(status, unwritten) or self.timeline
        self.end()

    def publish(self, run_id: str, report: Path | None, *, figures: bool) -> None:
        """Send figures and files to the dashboards that take them, after `finish`.

        Args:
            run_id: The run's own id.
            report: Its report, None where there is none.
            figures: Whether there is time for figures; without them `sync` sends them later.
        """
        if self._step >= 0:
            self._loggers.publish(Outcome(self._run_dir, run_id, self.timeline, self._step, report), figures=figures)
        self.end()

    def end(self) -> None:
        """Note that nothing more is delivered from here."""
        self._delivers = False
        self._note(self._tailer.read_bytes)

    def stop(self) -> None:
        """End the helper thread that reads."""
        self._tailer.stop()

    def _note(self, read_bytes: int) -> None:
        """Write down what was delivered, so that `sync` knows what was not; a full disk costs that and one warning."""
        targets = self._loggers.wandb_targets(before=self._before, read_bytes=read_bytes)
        others = tuple(known for known in self._earlier if not any(known.is_same_run(target) for target in targets))
        delivered = Delivered(self._step, self._names, (*others, *targets), delivers=self._delivers)
        if delivered == self._noted:
            return
        self._noted = delivered
        try:
            write_delivered(self._run_dir, delivered)
        except OSError as err:
            if not self._notes_fail:
                self._notes_fail = True
                warn(f"what was delivered cannot be noted ({err}); `lightning-interp sync` may send rows once more")

    def _tell(self, change: PhaseChange) -> None:
        text = describe(change)
        say(text)
        self._loggers.alert(f"{change.name} {change.kind}", text)
        if change.kind == "began":
            self._listeners.phase_began(change, strict=self._strict)

    def _raise_new(self, timeline: Timeline) -> None:
        """Pass on what was not told yet, counted by name: better records may move the step of an alarm that was."""
        told = Counter(name for name, _ in self._alarmed)
        for alarm in timeline.alarms:
            told[alarm.name] -= 1
            if told[alarm.name] < 0:
                self._raise(alarm, timeline)

    def _raise(self, alarm: Alarm, timeline: Timeline) -> None:
        self._alarmed.append((alarm.name, alarm.step))
        if alarm.name not in TOLD_AS_PHASES:
            text = alarm_sentence(alarm, timeline)
            say(text)
            self._loggers.alert(alarm.name.replace("_", " "), text)
        self._listeners.alarm_raised(alarm, strict=self._strict)


def _supplied_before(run_dir: Path) -> tuple[WandbTarget, ...]:
    """W&B runs that earlier starts of the training supplied, as far as what they got still stands."""
    try:
        delivered, resumed_at = read_delivered(run_dir), read_manifest(run_dir).attempts[-1].resumed_at
    except RunError:  # of a version that is not known here
        return ()
    if delivered is None or resumed_at is None:
        return ()
    return tuple(replace(target, step=min(target.step, resumed_at)) for target in delivered.wandb)


def _announced(progress: Progress | None) -> Timeline | None:
    """The phases a checkpoint knows to have been told, in the shape that changes are counted from."""
    if progress is None or not progress.announced:
        return None
    phases = tuple(Phase(name, start, end, 0.0, (start, start)) for name, start, end in progress.announced)
    return Timeline("unknown", phases)
