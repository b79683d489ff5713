# SPDX-License-Identifier: Apache-2.0
"""From snapshots to records: the one path for live runs, interrupted runs and, later, imported checkpoints.

An `Analyzer` knows a run directory and how to make replicas. It observes pending snapshots in order, appends their records
and replaces the timeline. Everything it decides is on disk, so another analyzer can go on where this one was killed.
"""

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lightning_interp.analysis.components import ComponentTracker
from lightning_interp.analysis.device import MEMORY_FRACTION, leaves_gpu, memory_of
from lightning_interp.analysis.guess_check import take_back_losses
from lightning_interp.analysis.logged_source import with_late_values
from lightning_interp.analysis.measuring import QUARANTINED, Measured, is_incomplete
from lightning_interp.analysis.observation import Watched
from lightning_interp.analysis.observer import Observer
from lightning_interp.analysis.packed_types import PackedTypes
from lightning_interp.analysis.plan import AnalysisPlan
from lightning_interp.analysis.record_history import RecordHistory
from lightning_interp.analysis.stored_probe import StoredProbe
from lightning_interp.analysis.watchdog import Watch, Watchdog
from lightning_interp.analysis.worker.pipe import StartOrder
from lightning_interp.core.errors import CorruptSnapshotError
from lightning_interp.core.records import Probe, Record, Snapshot
from lightning_interp.measures.label import plain_label
from lightning_interp.measures.logged_names import is_component
from lightning_interp.measures.logged_outcome import missed_outcome
from lightning_interp.measures.registry import own_labels
from lightning_interp.store.analysis_state import WEIGHTS_ONLY, AnalysisStage, read_state
from lightning_interp.store.file_identity import Identity, file_identity
from lightning_interp.store.jsonl import cut_torn_tail
from lightning_interp.store.layout import MANIFEST, OBSERVATIONS, PHASES, RECORDS, replace_text, step_file, sweep_temporary
from lightning_interp.store.manifest import Status, read_manifest
from lightning_interp.store.recordlog import append_record, read_records
from lightning_interp.store.snapshots import read_snapshot, snapshot_steps
from lightning_interp.store.standing import Standing, measured_steps, standing_between
from lightning_interp.store.tensor_file import write_tensors

_MEANS: dict[AnalysisStage, Status] = {"finished": "finished", "stopped": "interrupted"}
"""How the training ended that told its analyzer to finish, or that is gone without a word; it may say so itself later."""


class Analyzer:
    """Observes the snapshots of one run directory. The caller holds the directory's analyzer lock.

    Args:
        run_dir: Run directory.
        plan: What to compute.
        order: The start it belongs to: which one it is, what it leaves out, how long an observation may take.
        watch: Ends what hangs; without one an observation may take forever.

    Attributes:
        run_dir: As given.
        state: What analysis.json says.
        manifest: What run.json said when last looked at.
        watched: Layers and parameters of the run.
        observer: Measures snapshots.
        training: Where the training stands, if whoever starts this knows better than run.json.
        to_come: Steps that are still to be measured and lie elsewhere, as those of checkpoints do.
    """

    def __init__(self, run_dir: Path, plan: AnalysisPlan, order: StartOrder, *, watch: Watch | None = None) -> None:
        self.run_dir = run_dir
        self.training: Status | None = None
        self.to_come: Collection[int] = ()
        self.state = read_state(run_dir)
        self._plan = plan
        self._waits_for_probe = True
        self._stored_probe = StoredProbe(
            run_dir, order.batch_types, has_module=plan.source is not None, notice=self.state.notice
        )
        self._paced = self._started_over = False
        (run_dir / OBSERVATIONS).mkdir(exist_ok=True)
        sweep_temporary(run_dir / OBSERVATIONS)
        cut_torn_tail(run_dir / RECORDS)
        self.manifest = read_manifest(run_dir)
        self._attempt = self.manifest.attempt
        self._superseded = False
        self._manifest_read: Identity | None = None
        self._folded = RecordHistory(
            read_records(run_dir, self.manifest),
            null=self.state.null,
            outcome=plan.request.outcome,
            logged=self.state.logged_as,
        )
        self._incomplete: set[int] | None = None
        self._timeline_is_behind = bool(self._folded.records)  # the last analyzer may have been killed before it wrote it
        self.state.device, self.state.threads = plan.request.device, torch.get_num_threads()
        self.state.stage, self.state.start_id = "running", order.start_id
        self.state.labels |= {name: plain_label(label) for name, label in own_labels(plan.request.measures).items()}
        self._under_way = Watchdog(run_dir, self.state, watch or Watch(), least_s=order.least_limit_s)
        self.watched = Watched.of(self.manifest)
        self.observer = Observer(
            plan,
            self.watched,
            self.manifest.layers,
            self.state,
            timer=self._under_way,
            chosen=lambda: self.state.write(run_dir),
            trainer=self.manifest.configuration.get("trainer", {}),
        )
        self.observer.probe = plan.request.probe
        self._tries_again = order.quarantine is None
        self._quarantined = {} if order.quarantine is None else dict(order.quarantine.steps)
        if plan.without_replica:
            self.state.notice(plan.without_replica)
        self.state.write(run_dir)
        self._components = self._tracker()

    def pending(self) -> list[int]:
        """Committed steps without a record or with less than could be measured now, ascending.

        Empty while the probe is still being collected, and once a later start of the training has taken over.
        """
        return self.lacking(snapshot_steps(self.run_dir))

    def lacking(self, steps: Sequence[int]) -> list[int]:
        """Of some steps those without a record or with less than could be measured now; none as for `pending`."""
        if self._superseded or not self._probe_ready():
            return []
        if self._incomplete is None:
            self._incomplete = self._incomplete_steps()
        return [step for step in steps if step not in self._folded or step in self._incomplete]

    @property
    def superseded(self) -> bool:
        """Whether the training started again since this analyzer began; what it would still write is not wanted.

        Once true it stays so, and the analyzer has said why.
        """
        written = file_identity(self.run_dir / MANIFEST)
        if not self._superseded and (written is None or written != self._manifest_read):  # asked often, seldom another
            self._superseded = read_manifest(self.run_dir).attempt != self._attempt
            self._manifest_read = written
            if self._superseded:
                self.state.notice("superseded by a later start")
        return self._superseded

    @property
    def probe_missing(self) -> bool:
        """Whether the run announced a probe that is not here (yet)."""
        return not self._probe_ready()

    def without_probe(self) -> None:
        """Go on without the probe: its training is gone and never committed it."""
        self._waits_for_probe = False
        self.state.notice(f"{WEIGHTS_ONLY}: the run kept its probe out of the directory, or ended before it had one")

    def give_probe(self, probe: Probe) -> None:
        """The probe of a run that keeps it out of the directory."""
        self.observer.probe = probe

    def give_batch_types(self, packed: PackedTypes) -> None:
        """Classes of the batches of a probe that was collected while the training ran."""
        self._stored_probe.learn(packed)

    def run_pending(
        self, *, stop: Callable[[], bool] = lambda: False, on_step: Callable[[int], None] = lambda _: None
    ) -> int:
        """Observe what is pending, asking `stop` before each snapshot; returns how many snapshots that were."""
        observed, waiting = 0, self.pending()
        while waiting:
            step = waiting.pop(0)
            if stop() or self.superseded or self.observe(step) is None:
                break
            on_step(step)
            observed += 1
            if self._started_over:
                waiting, self._started_over = self.pending(), False
        self.write_timeline()
        return observed

    def observe(self, step: int) -> Record | None:
        """Observe one snapshot and commit its record, activations and timeline; of one it leaves out, the reason.

        Returns:
            The record, or None where a later start of the training has taken over meanwhile.
        """
        started, had_route = time.perf_counter(), self.state.route is not None
        self._probe_ready()
        self._leave_full_gpu()
        self._under_way.observe(step)
        record = self._record(step)
        if self.superseded:
            self._under_way.rest()
            return None
        if self.observer.gave_up_guess:
            self.take_back_losses(but=step)
        elif self.state.route is not None and not had_route and self._folded.records:
            self._incomplete, self._started_over = None, True  # earlier steps had no loss yet
        (self._append if self._started_over else self._commit)(record)  # its timeline comes after the earlier steps
        self._tell_pace(record, time.perf_counter() - started)
        self.state.pending = len(self.pending())
        self._under_way.rest()
        if self._components is not None:  # after everything a reader of this step waits for
            with self._under_way.fitting():
                self._components.follow(step)
        return record

    def take(self, step: int, measured: Measured, activations: Mapping[str, Tensor]) -> Record:
        """Commit what a mapper measured of a step; measures of the history are added here, where it is known.

        The timeline on disk follows at `finish` or `write_timeline`.
        """
        self.observer.add_history(step, self._folded.history(step), measured)
        self._folded.know_null(self.state.null)
        record = self._as_record(step, measured, activations)
        self._append(record)
        if self._components is not None:
            with self._under_way.fitting():
                self._components.follow(step)
        return record

    def take_back_losses(self, *, but: int | None = None) -> None:
        """The loss was a guess and no more is: other steps lose what they have of it, and lack it until measured again."""
        self.observer.gave_up_guess, self._started_over = False, True
        others = [record for record in self._folded.records if record.step != but]
        kept = {*snapshot_steps(self.run_dir), *self.to_come}
        changed, told = take_back_losses(others, self._plan.request.measures, kept)
        for record in changed:
            self._append(record)
        self._incomplete = None
        if changed:
            self.state.notice(told)
        self.state.write(self.run_dir)  # last: killed before, the next analyzer guesses once more and finds out again

    def leave_out(self, step: int, reason: str) -> None:
        """Commit that a step is not analyzed, and why."""
        self._append(self._left_out(step, reason))

    def finish(self, stage: AnalysisStage) -> None:
        """Say on disk how the analysis ended; work that a later start took over is `stopped`, whatever the caller thinks.

        Finished work ends with a last fit of the components.
        """
        if self.training is None and read_manifest(self.run_dir).status == "training":
            self.training = _MEANS.get(stage)
        if not self.superseded:
            for record in with_late_values(self.run_dir, self.manifest, self._folded, self.state):
                self._append(record)
        self.write_timeline(finished=True)
        if self._plan.request.outcome is not None and (missed := missed_outcome(self._folded.records)):
            self.state.notice(missed)
        if self._components is not None and stage == "finished" and not self.superseded:
            with self._under_way.fitting():
                self._components.finish()
        self.state.stage = "stopped" if stage == "finished" and self.superseded else stage
        self.state.pending = len(self.pending())
        self.state.write(self.run_dir)

    def limit_memory(self) -> None:
        """Leave most of a shared GPU to the training. For a process of its own: the limit is one of the whole process."""
        if self._plan.shares_gpu:
            torch.cuda.set_per_process_memory_fraction(MEMORY_FRACTION, self.observer.device)

    def _record(self, step: int) -> Record:
        """What can be said of a snapshot: measured, or the reason it is not."""
        if step in self._quarantined:
            return self._left_out(step, f"{QUARANTINED}: {self._quarantined[step]}")
        try:
            snapshot = read_snapshot(self.run_dir, step)
        except CorruptSnapshotError as err:
            return self._left_out(step, str(err))
        return self._measured_within_memory(snapshot)

    def _left_out(self, step: int, reason: str) -> Record:
        self.state.notice(f"step {step} is left out: {reason}")
        return Record(step, self._attempt, {}, {}, {"snapshot": reason})

    def _incomplete_steps(self) -> set[int]:
        able = self._plan.source is not None and self.observer.probe is not None
        given, again = self._plan.request.probe_step is not None or bool(self.state.route), self._tries_again
        records, measures = self._folded.records, self._plan.request.measures
        found = {
            r.step for r in records if is_incomplete(r, measures, replica=able, probe_step=given, retry_quarantined=again)
        }
        return found - self._quarantined.keys()  # what an earlier analyzer found out stands

    def _leave_full_gpu(self) -> None:
        """The training may need the GPU's last memory more. Tested with made-up numbers only, never on a GPU."""
        if self._plan.shares_gpu and self.observer.device.type == "cuda" and leaves_gpu(memory_of(self.observer.device)):
            self._move_to_cpu(f"{self.observer.device} is nearly full, and the training uses it")
            torch.cuda.empty_cache()

    def _move_to_cpu(self, why: str) -> None:
        self.state.notice(f"{why}; the analysis moved to the CPU")
        self.observer.device, self.state.device = torch.device("cpu"), "cpu"
        if self._components is not None:
            self._components.leave_gpu()

    def _tell_pace(self, record: Record, seconds: float) -> None:
        """Say once for the run how long a snapshot takes: not from the first, which waits for imports, nor a damaged one."""
        if "snapshot" in record.skipped:
            return
        if not self._paced:
            self._paced = True
            return
        self._under_way.took(seconds)
        if self.state.seconds_per_snapshot is None:
            self.state.notice(f"analysis takes {seconds:.2g} s per snapshot on {self.state.device}")
        self.state.seconds_per_snapshot = round(seconds, 4)

    def _probe_ready(self) -> bool:
        if self.observer.probe is None:
            self.observer.probe = self._stored_probe.read()
        if self.observer.probe is not None:
            return True
        self.manifest = read_manifest(self.run_dir)
        return not self._waits_for_probe or self.manifest.probe.get("status") not in ("pending", "memory")

    def _measured(self, snapshot: Snapshot) -> Record:
        measured, activations = self.observer.measure(snapshot, self._folded.history(snapshot.step))
        self._folded.know_null(self.state.null)
        return self._as_record(snapshot.step, measured, activations)

    def _as_record(self, step: int, measured: Measured, activations: Mapping[str, Tensor]) -> Record:
        values = measured.values | self._loadings(step, self._keep_activations(step, activations))
        layers = {name: tuple(row) for name, row in measured.layers.items()}
        return Record(step, self._attempt, values, layers, measured.skipped, measured.vectors)

    def _tracker(self) -> ComponentTracker | None:
        asked = self._plan.request
        if asked.tca is None:
            return None
        return ComponentTracker(
            self.run_dir,
            asked.tca,
            recorded=lambda: [record.step for record in self._folded.records],
            notice=self._notice_now,
            may_write=self._fit_ended,
            device=asked.device,
            strict=asked.strict,
        )

    def _fit_ended(self) -> bool:
        """Whether its result may be written. Where many fits follow each other, each has its own limit."""
        self._under_way.next_fit()
        return not self.superseded

    def _notice_now(self, text: str) -> None:
        self.state.notice(text)
        self.state.write(self.run_dir)

    def _loadings(self, step: int, stored: Mapping[str, Tensor]) -> dict[str, float]:
        """Loadings of the components: those recorded when the step was observed first, else what the latest fit gives."""
        if self._components is None:
            return {}
        known = {name: value for name, value in self._folded.values(step).items() if is_component(name)}
        return self._components.loadings(step, stored) | known

    def _measured_within_memory(self, snapshot: Snapshot) -> Record:
        """Measure on the device; when its memory runs out, measure the snapshot again on the CPU and stay there."""
        try:
            return self._measured(snapshot)
        except torch.OutOfMemoryError:
            self._move_to_cpu(f"out of memory on {self.observer.device} at step {snapshot.step}")
        torch.cuda.empty_cache()  # not before: the error held on to what was computed until then
        return self._measured(snapshot)

    def _keep_activations(self, step: int, activations: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Commit the activations of one snapshot; none once a later start has taken over."""
        if not activations or self.superseded:
            return {}
        write_tensors(step_file(self.run_dir / OBSERVATIONS, step), activations, {"step": step})
        return activations

    def _commit(self, record: Record) -> None:
        if self._append(record):  # the timeline of many earlier steps observed again is written once, at the end
            self.write_timeline()

    def _append(self, record: Record) -> bool:
        """Append a record; whether it is the latest."""
        append_record(self.run_dir, record)
        if self._incomplete is not None:
            self._incomplete.discard(record.step)
        self._timeline_is_behind = True
        latest = self._folded.add(record)
        if latest:
            self.state.last_step = record.step
        return latest

    def write_timeline(self, *, finished: bool = False) -> None:
        """Replace the timeline on disk where records have come since, or where the history is whole now."""
        if (self._timeline_is_behind or (finished and self._folded.records)) and not self.superseded:
            timeline = self._folded.finished_timeline if finished else self._folded.timeline
            judged = self._standing().judge(timeline)
            replace_text(self.run_dir / PHASES, json.dumps(judged.to_dict(), allow_nan=False))
            self._timeline_is_behind = False

    def _standing(self) -> Standing:
        """Where the run stands, of the records in memory."""
        steps = {*snapshot_steps(self.run_dir), *self.to_come}
        status = self.training or read_manifest(self.run_dir).status
        return standing_between(measured_steps(self._folded.records), steps, again=self._incomplete or set(), status=status)
