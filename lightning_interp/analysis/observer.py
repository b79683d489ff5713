# SPDX-License-Identifier: Apache-2.0
"""From a snapshot to numbers and activations: replica, way to the outputs, probe. Knows nothing of a run directory.

An analyzer has one; beside it, each worker of an analysis over many checkpoints has one of its own, which makes the choices
that the first snapshot led to (`AnalysisState`) and so gives the same bits.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from lightning_interp.analysis.activations import kept_entries, missing_line, repeated_line
from lightning_interp.analysis.guess_check import ROUNDING, is_worth_a_look
from lightning_interp.analysis.known_null import count_heldout, find_null
from lightning_interp.analysis.logged_source import FOLLOWED, add_logged
from lightning_interp.analysis.mean_over import MeanOver
from lightning_interp.analysis.measuring import (
    NEEDS_REPLICA,
    NEEDS_ROUTE,
    Measured,
    explain_missing_outputs,
    measure_all,
)
from lightning_interp.analysis.observation import PastObservation, SnapshotObservation, Watched, find_loss_weights
from lightning_interp.analysis.outputs import LossSource, find_loss_source, route_by_name
from lightning_interp.analysis.plan import AnalysisPlan
from lightning_interp.analysis.probe_budget import cut_loaders, cut_probe, cut_sizes
from lightning_interp.analysis.replica import ReplicaSource, make_replica
from lightning_interp.analysis.trainer_stand_in import attach_stand_in
from lightning_interp.analysis.watchdog import PassTimer
from lightning_interp.core.errors import ProbeError
from lightning_interp.core.null_predictor import NullPredictor
from lightning_interp.core.records import SPLITS, Part, Probe, Snapshot
from lightning_interp.core.series import Series
from lightning_interp.measures import Measure
from lightning_interp.store.analysis_state import WEIGHTS_ONLY, AnalysisState

_MOST_UNTOLD = 5
"""Snapshots at which it is asked what a mean loss is over: equal losses, as of a network that knows nothing, do not tell."""

_NOT_FOUND = "what the module's mean loss is a mean over did not show: batches count by their examples"


class Observer:
    """Measures snapshots.

    Args:
        plan: What to compute.
        watched: Layers and parameters of the run.
        layers: run.json's layer list, the order of per-layer rows.
        state: Choices made so far, and where new ones and notices go.
        timer: Told about the pass over the whole probe.
        trainer: Plain settings of the training's own Trainer, for steps that read them.
        chosen: Called once it is known how outputs are found, before anything is measured.

    Attributes:
        probe: The probe, None while there is none.
        device: Where replicas are.
        state: As given.
        gave_up_guess: Whether the loss of the snapshot measured last, and of those to come, is another than before.
    """

    def __init__(
        self,
        plan: AnalysisPlan,
        watched: Watched,
        layers: Sequence[str],
        state: AnalysisState,
        *,
        timer: PassTimer | None = None,
        trainer: Mapping[str, Any] = MappingProxyType({}),
        chosen: Callable[[], None] = lambda: None,
    ) -> None:
        self.probe: Probe | None = None
        self.device = torch.device(plan.request.device)
        self.state = state
        self._plan, self._watched, self._layers = plan, watched, layers
        self._timer, self._trainer, self._chosen = timer or PassTimer(), trainer, chosen
        self.gave_up_guess = self._layers_told = False
        self._route: LossSource | None = None
        self._route_is_new = False
        self._probe_is_cut = False
        self._untold = 0

    @property
    def strict(self) -> bool:
        """Whether a failure ends the analysis."""
        return self._plan.request.strict

    @property
    def source(self) -> ReplicaSource | None:
        """What makes replicas, None where only weights can be measured."""
        return self._plan.source

    @property
    def chooses(self) -> bool:
        """Whether the next snapshot decides how outputs are found."""
        return self._plan.source is not None and self.probe is not None and self._route is None and not self.state.route

    def measure(self, snapshot: Snapshot, history: Series) -> tuple[Measured, Mapping[str, Tensor]]:
        """Everything that is measured of one snapshot, and the activations to keep."""
        observation = self._observation(snapshot, history)
        measured = self._measure(observation, self._plan.stateless)
        self.gave_up_guess = self._gives_up_guess(observation, measured)
        if self.gave_up_guess:
            observation = self._observation(snapshot, history)
            measured = self._measure(observation, self._plan.stateless)
        observation.current_values = measured.values
        self._measure_history(observation, measured)
        add_logged(snapshot, history, measured, self.state)
        return self._explained(observation, measured), self._activations(observation)

    @property
    def is_settled(self) -> bool:
        """Whether it is known how outputs are found."""
        return self._route is not None

    def settle(self, snapshot: Snapshot) -> None:
        """Find out how outputs are found, or compare a guessed loss with the module's own at another snapshot."""
        known = self._route
        observation = self._observation(snapshot, {})
        if known is not None and known.is_guess:
            least = ROUNDING * self.state.guess_checked[0] if self.state.guess_checked else 0.0
            self.gave_up_guess |= self._takes_own_loss(observation, least)
        elif self._route is not None and self._route.is_guess:
            self.state.guess_checked = [float(observation.losses("train").mean())]

    def measure_stateless(self, snapshot: Snapshot) -> tuple[Measured, Mapping[str, Tensor]]:
        """The same without the measures that look at earlier snapshots: can be done in any order."""
        observation = self._observation(snapshot, {})
        measured = self._measure(observation, self._plan.stateless)
        return self._explained(observation, measured), self._activations(observation)

    def _measure_failed(self, name: str, err: Exception) -> None:
        """Report a measure that broke; raise where that ends the analysis."""
        if self._plan.request.strict or isinstance(err, torch.OutOfMemoryError):
            raise err
        self.state.notice(f"measure {name} failed and is skipped where it does: {type(err).__name__}: {err}")

    def add_history(self, step: int, history: Series, measured: Measured) -> None:
        """Add the measures that look at earlier snapshots to what `measure_stateless` gave for a step."""
        self._measure_history(PastObservation(step, history, measured.values), measured)

    def _measure_history(self, observation: SnapshotObservation, measured: Measured) -> None:
        """One by one in the order asked for, whatever they cost: each sees in `current_values` what those before gave."""
        for measure in self._plan.history_measures:
            self._measure(observation, (measure,), measured)

    def _measure(
        self, observation: SnapshotObservation, measures: Sequence[Measure], measured: Measured | None = None
    ) -> Measured:
        return measure_all(observation, measures, self._layers, on_failure=self._measure_failed, measured=measured)

    def _explained(self, observation: SnapshotObservation, measured: Measured) -> Measured:
        if not observation.has_outputs:
            reason = f"{NEEDS_REPLICA if self._had_no_replica else NEEDS_ROUTE}; this run has weights only"
            explain_missing_outputs(measured, self._plan.request.measures, reason)
        return measured

    def _observation(self, snapshot: Snapshot, history: Series) -> SnapshotObservation:
        replica = self._replica(snapshot)
        self._had_no_replica = replica is None
        if replica is not None and self.probe is not None and self._route is None:
            self._choose_route(replica)
        if replica is not None and self._route is not None and not self._probe_is_cut:
            self._fit_probe_to_pace(snapshot, replica)
        observation = SnapshotObservation(
            snapshot,
            self._watched,
            history,
            probe=self.probe,
            replica=replica if self._route is not None else None,
            route=self._route,
        )
        if self._route is not None and replica is not None and self.state.mean_over is None:
            self._learn_weights(replica, self._route)
        observation.mean_over = MeanOver.of(self.state.mean_over)
        if self.state.heldout_examples is None and replica is not None and self._route is not None:
            self._learn_null(observation, replica, self._route)
        observation.null = self.state.null
        return observation

    def _replica(self, snapshot: Snapshot) -> nn.Module | None:
        if self._plan.source is None or self.probe is None:
            return None
        try:
            replica = make_replica(self._plan.source, snapshot, device=self.device)
        except ProbeError as err:
            self.state.notice(f"{WEIGHTS_ONLY}: {err}")
            return None
        attach_stand_in(replica, step=snapshot.step, epoch=snapshot.epoch, settings=self._trainer)
        return replica

    def _choose_route(self, replica: nn.Module) -> None:
        """The way to the outputs: the one chosen at the first snapshot of the run, else the first that works now."""
        assert self.probe is not None
        try:
            if self.state.route:
                asked = self._plan.request.probe_step
                self._route = route_by_name(self.state.route, probe_step=asked, loss=self.state.loss)
            else:
                self._route = find_loss_source(
                    replica, self.probe.train.batches[0], probe_step=self._plan.request.probe_step
                )
                self._route_is_new = True
                self.state.notice(self._route.note)
        except ProbeError as err:
            self.state.notice(str(err))
            self._chosen()
            return
        self.state.take_route(self._route.name, self._route.loss)
        self.state.drop(WEIGHTS_ONLY)  # an earlier analyzer had less to work with
        self.state.drop(FOLLOWED)
        self._chosen()

    def _gives_up_guess(self, observation: SnapshotObservation, measured: Measured) -> bool:
        """Compare a guessed loss with the module's own where it has moved since; take the own one if they differ.

        All losses of a classifier are one while its scores are equal, so the first comparison says little.
        """
        loss, checked = measured.values.get("train_loss"), self.state.guess_checked
        if self._route is None or not self._route.is_guess or loss is None or not is_worth_a_look(loss, checked):
            return False
        self.state.guess_checked = [*checked[:1], loss]
        return self._takes_own_loss(observation, ROUNDING * (checked[0] if checked else loss))

    def _takes_own_loss(self, observation: SnapshotObservation, least: float) -> bool:
        """Whether the module's own loss is not what was guessed, and is taken from now on."""
        found = observation.better_source(least=least)
        if found is None:
            return False
        self._route, self._untold = found, 0
        self.state.take_route(found.name, found.loss)
        self.state.notice(found.note)
        return True

    def _fit_probe_to_pace(self, snapshot: Snapshot, replica: nn.Module) -> None:
        """Time one pass over the probe and cut it if it is too slow; on a resumed run, cut as before."""
        assert self.probe is not None
        if self._route_is_new:
            trial = SnapshotObservation(snapshot, self._watched, {}, probe=self.probe, replica=replica, route=self._route)
            self._timer.time_probe()
            seconds = self._time_one_pass(trial)
            self._timer.probe_took(seconds)
            self.state.probe_cut = {} if self._plan.request.task is not None else cut_sizes(self.probe, seconds)
            if self.state.probe_cut:
                kept = ", ".join(f"{count} {name}" for name, count in self.state.probe_cut.items())
                self.state.notice(f"one pass over the probe took {seconds:.1f} s; it is cut to {kept} examples")
            self.state.probe_cut |= cut_loaders(self.probe, self._time_loaders(trial))
        self.probe = cut_probe(self.probe, self.state.probe_cut)
        self._probe_is_cut = True

    @property
    def _clock(self) -> Callable[[], float]:
        """A process that is halted meanwhile to spare its training, or waits for a core, has not become slower."""
        return time.thread_time if self.device.type == "cpu" else time.perf_counter

    def _time_one_pass(self, trial: SnapshotObservation) -> float:
        """Seconds of work for the outputs of both splits; learns the number of classes on the way."""
        started = self._clock()
        for split in SPLITS:
            if not trial.has_split(split) or not self._has_outputs(trial, split):
                continue
            logits = trial.outputs(split).logits
            if logits is not None and self.state.n_classes is None:
                self.state.n_classes = logits.shape[1]
        return self._clock() - started

    def _time_loaders(self, trial: SnapshotObservation) -> dict[Part, float]:
        """Seconds of work for the outputs of each further validation loader that gives some."""
        assert self.probe is not None
        found = {}
        for part in (f"heldout/{loader}" for loader in self.probe.loaders):
            started = self._clock()
            if self._has_outputs(trial, part):
                found[part] = self._clock() - started
        return found

    def _has_outputs(self, trial: SnapshotObservation, part: Part) -> bool:
        """Whether there are outputs on some examples; if not, why is noted."""
        try:
            trial.outputs(part)
        except torch.OutOfMemoryError:
            raise
        except Exception as err:  # a probe_step of the user's own may raise anything on a batch it does not know
            self.state.notice(f"no outputs on the {part} examples: {type(err).__name__}: {err}")
            return False
        return True

    def _learn_weights(self, replica: nn.Module, route: LossSource) -> None:
        """Find out what a mean loss is over, once for the run, at the first snapshot that tells."""
        assert self.probe is not None
        found: MeanOver | None
        try:
            found = find_loss_weights(replica, route, self.probe.train)
        except torch.OutOfMemoryError:
            raise
        except Exception:  # what a user's function cannot do is told where it is asked for losses
            found = MeanOver()
        self._untold += found is None
        if self._untold >= _MOST_UNTOLD:
            found = MeanOver()
        if found is not None:
            self.state.mean_over = found.name
            if not found.fits:
                self.state.notice(_NOT_FOUND)
            if found.tensor is not None:
                self.state.notice(f"the module's mean loss is over {found.words}: batches count by these, not by examples")

    def _learn_null(self, observation: SnapshotObservation, replica: nn.Module, route: LossSource) -> None:
        """Find out what a constant prediction gets, once for the run, at the first snapshot that tells."""
        found: NullPredictor | None
        try:
            found = find_null(observation, replica, route)
        except torch.OutOfMemoryError:
            raise
        except Exception as err:  # a probe_step of the user's own may raise anything on a batch it does not know
            self.state.notice(f"the loss of a constant prediction is not known: {type(err).__name__}: {err}")
            found = NullPredictor(heldout_examples=count_heldout(self.probe))
        if found is not None:
            self.state.learn_null(found)

    def _activations(self, observation: SnapshotObservation) -> Mapping[str, Tensor]:
        """Activations of the watched layers to keep, or the matrices that stand for them; empty where there are none."""
        if self._watched.weights:
            return {name: kept_entries(observation.weight(name)) for name in self._watched.weights}
        if not observation.has_outputs or not self._watched.layers:
            return {}
        try:
            stored = observation.stored_activations
        except torch.OutOfMemoryError:
            raise
        except Exception as err:  # outputs that failed are already reported by the measures that needed them
            self.state.notice(f"activations are not stored: {type(err).__name__}: {err}")
            return {}
        lines = (
            missing_line(observation.missing_activations) if observation.missing_activations else "",
            repeated_line(observation.layer_calls, self._watched.layers),
        )
        if not self._layers_told:  # once: shapes and numbers of calls may change with every batch
            for line in filter(None, lines):
                self.state.notice(line)
        self._layers_told = self._layers_told or any(lines)
        return stored
