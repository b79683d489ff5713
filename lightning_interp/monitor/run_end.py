# SPDX-License-Identifier: Apache-2.0
"""The end of a run: what is queued is written, the analyzer finishes or is left to itself, and the outcome is told.

A training that ended well waits for its results up to `close_timeout`. One that broke off does not wait at all
(`closing.py`), and nothing more goes to its loggers: `lightning-interp sync` sends what came late.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from lightning_interp.analysis.worker.engine import HANDOVER_S, Engine
from lightning_interp.capture import Recorder, changed_since
from lightning_interp.capture.plain_tensors import Marks
from lightning_interp.config.monitor_config import MonitorConfig, switched_off
from lightning_interp.core.console import say, warn
from lightning_interp.core.errors import InterpError
from lightning_interp.core.system_trouble import free_bytes, full_words, is_low
from lightning_interp.monitor.announcements import failed_words, finish_words, left_words, result_line, waiting_line
from lightning_interp.monitor.budget import SnapshotThrottle
from lightning_interp.monitor.closing import Closing, HurryError
from lightning_interp.monitor.delivery import Delivery
from lightning_interp.monitor.probe_collection import ProbeCollection
from lightning_interp.monitor.run_report import REPORT_SWITCH, write_run_report
from lightning_interp.phases.verdict_state import verdict_words
from lightning_interp.store import write_manifest
from lightning_interp.store.health_log import HealthLog
from lightning_interp.store.manifest import Status

_FIRST_WORD_S, _NEXT_WORD_S = 3.0, 5.0


@dataclass(frozen=True)
class OpenStages:
    """What works for one training.

    Attributes:
        health: Takes the monitor's own events.
        recorder: Writes snapshots.
        delivery: Carries results to loggers.
        probe: Keeps the probe.
        engine: Runs the analyzer.
        throttle: Says whether a snapshot is affordable.
        opened: What must be let go, in reverse order of opening.
    """

    health: HealthLog
    recorder: Recorder
    delivery: Delivery
    probe: ProbeCollection
    engine: Engine
    throttle: SnapshotThrottle
    opened: ExitStack


class RunEnd:
    """Ends one run, in the way its training ended."""

    def __init__(self, run_dir: Path, stages: OpenStages, config: MonitorConfig, plain_tensors: Marks) -> None:
        self._run_dir, self._stages, self._config, self._plain_tensors = run_dir, stages, config, plain_tensors

    def close(
        self, timeout: float, status: Status, module: nn.Module | None, *, last_step: int, watch: Callable[[], None]
    ) -> None:
        """Let the analyzer finish within the timeout, deliver its results, report.

        Args:
            timeout: Seconds to wait.
            status: How the training ended.
            module: The module, to check for tensors outside its state_dict that changed.
            last_step: Latest step that was handled.
            watch: Notes how the analyzer is; under `strict` its failure is raised.

        Raises:
            InterpError: Under `strict`, when the analysis failed.
        """
        try:
            finished = self._finish(timeout, status, module, last_step, watch)
        except InterpError as failure:
            try:
                self._publish(partial=True, figures=False)
            except Exception as err:  # what failed first is what stops the training
                failure.add_note(f"Afterwards, too: {type(err).__name__}: {err}")
            raise
        self._publish(partial=not finished, figures=status == "finished")

    def leave(self, status: Status, closing: Closing) -> None:
        """End a run whose training broke off: the disk first, then as much of the analysis as there is time for."""
        stages, timeout, began = self._stages, self._config.close_within_s, time.monotonic()
        with stages.opened:
            try:
                stages.throttle.stop()
                closing.wait(stages.recorder.flush, timeout)
                stages.recorder.buffers.clear()  # whoever keeps the callback shall not keep copies of the weights
                stages.engine.finish()
                stages.probe.finish(closing.time_left(_FIRST_WORD_S))
            finally:
                self._note_closed(status, finished=False)
                self._write_status(status)
            try:
                ended = stages.engine.wait(timeout, tick=closing.tick)
            except HurryError:
                ended = False
            stages.delivery.leave(closing.time_left(_FIRST_WORD_S), status, len(stages.recorder.unwritten))
            self._tell(closing, status, after_s=time.monotonic() - began if ended else None)
            stages.recorder.close(closing.time_left(_FIRST_WORD_S))

    def _leave_now(self, status: Status) -> None:
        self._stages.engine.finish()
        self._note_closed(status, finished=False)
        self._write_status(status)
        self._stages.delivery.leave(0.0, status, len(self._stages.recorder.unwritten))
        self._say_left()

    def abandon(self) -> None:
        """Let go of everything without waiting; what is committed stays. For when the monitor fails."""
        self._stages.health.note("closed", status="failed", analyzer_finished=False)
        self._write_status("failed")
        self._stages.opened.close()

    def _finish(
        self, timeout: float, status: Status, module: nn.Module | None, last_step: int, watch: Callable[[], None]
    ) -> bool:
        """Everything but figures and report; returns whether the analysis is complete."""
        stages, began = self._stages, time.monotonic()
        deadline = began + timeout
        with stages.opened:
            try:
                stages.throttle.stop()
                stages.probe.finish(max(0.0, deadline - time.monotonic()))
                stages.recorder.flush(max(0.0, deadline - time.monotonic()))
                stages.engine.finish()
                ended = stages.engine.wait(max(0.0, deadline - time.monotonic()), tick=self._waiting(last_step))
                stages.delivery.finish(status, len(stages.recorder.unwritten))
            except KeyboardInterrupt:  # not waited for any longer, and all the same a run that is closed
                self._leave_now(status)
                raise
            finished = ended and stages.engine.failure is None
            self._say_changed(module)
            self._note_closed(status, finished=finished)
            self._write_status(status)
            self._say_result(time.monotonic() - began if finished else None)
            try:
                watch()
            finally:  # the last words are how it stands and what to do
                if not finished:
                    self._say_left(HANDOVER_S)
                self._say_full()
        return finished

    def _tell(self, closing: Closing, status: Status, *, after_s: float | None) -> None:
        """How a run stands that was left: analyzed meanwhile, or still at it."""
        stages = self._stages
        failure = stages.engine.failure
        for notice in stages.engine.take_notices():
            warn(notice)
        if failure is not None:
            stages.health.note("analyzer_failed", reason=failure)
            self._say_failed(failure)
        elif after_s is None:
            self._say_left()
        self._say_full()
        if failure is None and after_s is not None:
            self._note_closed(status, finished=True)
            self._say_result(after_s)
            if closing.lives_on and self._reports:
                write_run_report(self._run_dir, partial=False, strict=False)

    @property
    def _reports(self) -> bool:
        return self._config.report and not switched_off(REPORT_SWITCH)

    def _publish(self, *, partial: bool, figures: bool) -> None:
        """Report and figures, once everything else is on disk; only a training that finished waits for figures."""
        report = None
        try:
            if self._reports:
                report = write_run_report(self._run_dir, partial=partial, strict=self._config.request.strict)
        finally:
            self._stages.delivery.publish(self._stages.probe.manifest.run_id, report, figures=figures)

    def _waiting(self, last_step: int) -> Callable[[], None]:
        """Delivers results while closing, and says every few seconds how far the analyzer is."""
        next_word = time.monotonic() + _FIRST_WORD_S

        def tick() -> None:
            nonlocal next_word
            self._stages.delivery.deliver()
            if time.monotonic() >= next_word:
                next_word = time.monotonic() + _NEXT_WORD_S
                say(waiting_line(self._stages.delivery.step, last_step, self._stages.delivery.queue))

        return tick

    def _note_closed(self, status: Status, *, finished: bool) -> None:
        cost = self._stages.throttle.overhead
        self._stages.health.note(
            "closed",
            status=status,
            analyzer_finished=finished,
            hook_share=round(cost.hook_share, 6),
            writer_share=round(cost.in_writing / cost.wall, 6),
            share=round(cost.share, 6),
            contention=cost.contention,
        )

    def _write_status(self, status: Status) -> None:
        manifest = self._stages.probe.seal()  # a late answer of git must not say again that this trains
        try:
            write_manifest(self._run_dir, replace(manifest, status=status))
        except OSError as err:
            warn(f"run.json could not be updated ({err}); it still says '{manifest.status}'")

    def _say_left(self, timeout_s: float = 0.0) -> None:
        """How an analysis that is not done stands; waits so long for the analyzer to take its orders."""
        stages = self._stages
        if stages.engine.goes_on(timeout_s):
            say(left_words(self._run_dir, to_sync=stages.delivery.has_wandb, queue=stages.delivery.queue))
        elif stages.engine.failure is not None:
            self._say_failed(stages.engine.failure)
        else:
            say(f"the analysis is unfinished: {finish_words(self._run_dir)}")

    def _say_failed(self, failure: str) -> None:
        """Said again where it was said while the training went on: these are the last words."""
        warn(failed_words(self._run_dir, failure, self._stages.delivery.analyzed_step))

    def _say_full(self) -> None:
        """That a full disk is why steps or results are missing; asks the system what is left only if something is."""
        since, failure = self._stages.recorder.full_since, self._stages.engine.failure
        if since is None and failure is None:
            return
        free = free_bytes(self._run_dir)
        if since is not None or is_low(free):
            warn(full_words(self._run_dir, free, step=since))

    def _say_changed(self, module: nn.Module | None) -> None:
        if module is not None and (changed := changed_since(self._plain_tensors, module)):
            text = f"tensors outside the state_dict changed and were not followed: {', '.join(changed)}"
            say(text)
            self._stages.health.note("not_followed", text=text)

    def _say_result(self, after_s: float | None) -> None:
        timeline = self._stages.delivery.timeline
        say(f"verdict {verdict_words(timeline) if timeline is not None else 'unknown'}; everything is in {self._run_dir}")
        say(result_line(self._stages.recorder, cost=self._stages.throttle.summary(), after_s=after_s))
