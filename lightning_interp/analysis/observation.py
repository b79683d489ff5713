# SPDX-License-Identifier: Apache-2.0
"""What one snapshot does on the probe, computed when a measure first asks: the `Observation` measures see."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from lightning_interp.analysis.activations import (
    RecordedOutputs,
    gather_stimuli,
    recorded_outputs,
    stimuli_of_batches,
    why_not_gathered,
)
from lightning_interp.analysis.exchanged_answers import exchange_answers
from lightning_interp.analysis.mean_over import MeanOver, find_mean_over, weighted_mean
from lightning_interp.analysis.module_loss import batches_of_loader
from lightning_interp.analysis.outputs import LossSource, better_source
from lightning_interp.analysis.reduction import batches_of_split
from lightning_interp.analysis.replica import eager, swapped_weights, to_replica
from lightning_interp.core.batches import example_count, tensors_of
from lightning_interp.core.errors import MeasureSkipped
from lightning_interp.core.names import strip_wrappers
from lightning_interp.core.null_predictor import NullPredictor
from lightning_interp.core.randomness import repeatable_randomness
from lightning_interp.core.records import SPLITS, Batch, Part, Probe, ProbeOutputs, ProbeSplit, Snapshot, Split
from lightning_interp.core.series import Series
from lightning_interp.core.shapes import Float, Float64
from lightning_interp.measures.null_loss import exchanged_cross_entropy
from lightning_interp.store.manifest import Manifest

LOGITS_CAP = 256 * 2**20
"""Most bytes of logits kept for one split."""


@dataclass(frozen=True)
class Watched:
    """What of the run is looked at, in run.json order.

    Attributes:
        layers: Activation layers.
        parameters: Selected parameters.
        weights: Matrices whose entries are kept in place of activations, where there are weights alone.
    """

    layers: tuple[str, ...]
    parameters: tuple[str, ...]
    weights: tuple[str, ...] = ()

    @classmethod
    def of(cls, manifest: Manifest) -> "Watched":
        """What a run was set up to look at."""
        matrices = tuple(manifest.configuration.get("weight_layers", ()))
        return cls(manifest.activation_layers, manifest.parameters, matrices)


@dataclass(frozen=True)
class _Evaluated:
    outputs: ProbeOutputs
    losses: Tensor
    activations: Mapping[str, Tensor | None]
    missing: Mapping[str, str]
    calls: Mapping[str, int]


class SnapshotObservation:
    """Lazy view of one snapshot; implements `lightning_interp.core.records.Observation`.

    Args:
        snapshot: The snapshot, tensors on the CPU.
        watched: Layers and parameters of the run.
        history: Scalars of earlier snapshots.
        probe: The probe, None where there is none.
        replica: Module holding the snapshot's weights, None where no replica is possible.
        route: How its outputs are found, None where no way works.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        watched: Watched,
        history: Series,
        *,
        probe: Probe | None = None,
        replica: nn.Module | None = None,
        route: LossSource | None = None,
    ) -> None:
        self.snapshot = snapshot
        self.probe = probe
        self.history = history
        self.layers = watched.layers
        self.parameters = watched.parameters
        self.current_values: Mapping[str, float] = {}
        self.null = NullPredictor()
        self.mean_over = MeanOver()
        self._replica = replica
        self._route = route
        self._evaluated: dict[Part, _Evaluated] = {}

    @property
    def has_outputs(self) -> bool:
        """Whether the module can be asked for outputs at all; without them only weights and history are there."""
        return self.probe is not None and self._replica is not None and self._route is not None

    def better_source(self, *, least: float) -> LossSource | None:
        """The module's own loss if it is not what the route in use guesses, by the first training batch; else None.

        Args:
            least: Difference up to which the two are one, in the unit of the loss.
        """
        replica, route = self._able()
        return better_source(route, replica, self._examples("train").batches[0], least=least)

    def weight(self, name: str) -> Tensor:
        """One state_dict tensor of the snapshot."""
        return self.snapshot.weights[name]

    def has_split(self, split: Part) -> bool:
        """Whether the probe has this part."""
        return self.probe is not None and self.probe.split(split) is not None

    def inputs(self, split: Split) -> Tensor:
        """First tensor of every batch, concatenated."""
        tensors = [next(tensors_of(batch), None) for batch in self._examples(split).batches]
        present = [tensor for tensor in tensors if tensor is not None]
        if not present:
            raise MeasureSkipped("the probe's batches hold no tensor")
        return torch.cat(present)

    def outputs(self, split: Part) -> ProbeOutputs:
        """Losses, logits and targets of the split."""
        return self._evaluate(split).outputs

    def losses(self, split: Part) -> Float64[Tensor, " example"] | Float64[Tensor, ""]:
        """Loss per example, or one mean, in float64."""
        return self._evaluate(split).losses

    def exchanged_loss(self, split: Split) -> Float64[Tensor, ""]:
        """Mean loss with answers exchanged: from the scores where the loss is their cross-entropy, else by one more pass."""
        replica, route = self._able()
        outputs = self.outputs(split)
        if self.null.loss is not None:
            if outputs.logits is None or outputs.targets is None:
                raise MeasureSkipped(f"the loss of a constant prediction is known ({self.null.source})")
            return exchanged_cross_entropy(outputs.logits, outputs.targets)
        examples = self._examples(split)
        exchanged = ProbeSplit(exchange_answers(examples.batches), examples.indices)
        loss = _run(replica, route, exchanged, (), splits=1, mean_over=self.mean_over).losses.mean()
        if torch.equal(loss, self.losses(split).mean()):
            raise MeasureSkipped("the loss is the same with answers exchanged: what it asks for is not among them")
        return loss

    def activations(self, layer: str, split: Split) -> Float[Tensor, "stimulus unit"]:
        """Output of one layer for the chosen stimuli of the split."""
        evaluated = self._evaluate(split)
        found = evaluated.activations.get(layer)
        if found is None:
            reason = evaluated.missing.get(layer, "it is not watched")
            raise MeasureSkipped(f"layer `{layer}` gave no output per example on this probe: {reason}")
        return found

    def gradients(self, split: Split) -> Mapping[str, Tensor]:
        """Gradient of the mean loss with respect to every trainable parameter."""
        replica, route = self._able()
        batches = self._examples(split).batches
        losses = self.losses(split)
        total = losses.numel() if losses.ndim else sum(self.mean_over(batch) for batch in batches)
        replica.zero_grad(set_to_none=True)
        parts = batches_of_split(sum(map(example_count, batches)))
        with eager(), repeatable_randomness(), parts, torch.enable_grad():
            for batch in batches:
                loss = route.call(replica, to_replica(batch, replica)).loss.double()
                # Ignored targets leave some batches fewer losses than examples; the mean is over losses, as in `losses`.
                share = (loss.numel() if losses.ndim else self.mean_over(batch)) / total
                if share:
                    torch.autograd.backward(loss.mean() * share)
        named = replica.named_parameters()
        found = {strip_wrappers(name): p.grad.detach().cpu() for name, p in named if p.grad is not None}
        replica.zero_grad(set_to_none=True)
        return found

    def loss_at(self, weights: Mapping[str, Tensor], split: Split) -> Float64[Tensor, ""]:
        """Mean loss with some weights replaced."""
        replica, route = self._able()
        with swapped_weights(replica, weights):
            return _run(replica, route, self._examples(split), (), splits=1, mean_over=self.mean_over).losses.mean()

    @cached_property
    def stored_activations(self) -> dict[str, Tensor]:
        """Activations to keep for TCA: per layer, train stimuli then held-out ones; layers without output left out."""
        present = [split for split in SPLITS if self.has_split(split)]
        found = {layer: [self._evaluate(split).activations.get(layer) for split in present] for layer in self.layers}
        return {
            layer: torch.cat([part for part in parts if part is not None])
            for layer, parts in found.items()
            if parts and all(part is not None for part in parts)
        }

    @property
    def missing_activations(self) -> dict[str, str]:
        """Why nothing is kept of a layer, for those of which nothing is."""
        return {
            layer: why for split in SPLITS if self.has_split(split) for layer, why in self._evaluate(split).missing.items()
        }

    @property
    def layer_calls(self) -> Mapping[str, int]:
        """How often each watched module is called for one batch of the training examples."""
        return self._evaluate("train").calls

    def _able(self) -> tuple[nn.Module, LossSource]:
        if self._replica is None or self._route is None:
            raise MeasureSkipped("needs a replica of the module and a way to its outputs; this run has weights only")
        return self._replica, self._route

    def _examples(self, split: Part) -> ProbeSplit:
        examples = self.probe.split(split) if self.probe is not None else None
        if examples is None:
            raise MeasureSkipped("no probe" if split == "train" else "no held-out data")
        return examples

    def _evaluate(self, split: Part) -> _Evaluated:
        if split not in self._evaluated:
            replica, route = self._able()
            examples = self._examples(split)
            splits = 2 if self.has_split("heldout") else 1
            layers = self.layers if split in SPLITS else ()  # activations are those of the splits
            with batches_of_loader(examples.loader):
                self._evaluated[split] = _run(replica, route, examples, layers, splits=splits, mean_over=self.mean_over)
        return self._evaluated[split]


class PastObservation(SnapshotObservation):
    """A snapshot of which only the measured values are left: enough for measures that look at earlier ones."""

    def __init__(self, step: int, history: Series, current_values: Mapping[str, float]) -> None:
        super().__init__(Snapshot(step, 0, {}), Watched((), ()), history)
        self.current_values = current_values

    def weight(self, name: str) -> Tensor:
        """The tensors are gone by now."""
        raise MeasureSkipped(
            f"weight {name} is not at hand where the history is known; the analysis of a run directory has it"
        )


def find_loss_weights(replica: nn.Module, route: LossSource, examples: ProbeSplit) -> MeanOver | None:
    """What the losses that a route gives for batches are means over; examples where they are one for each.

    None if it cannot be told at this snapshot.
    """

    def loss_of(batch: Batch) -> float:
        with batches_of_loader(examples.loader), repeatable_randomness(), torch.no_grad(), eager():
            return float(route.call(replica, to_replica(batch, replica)).loss.double().mean())

    if route.name == "pair" or route.loss.get("reduction", "mean") != "mean" or not examples.batches:
        return MeanOver()
    with repeatable_randomness(), torch.no_grad(), eager():
        loss = route.call(replica, to_replica(examples.batches[0], replica)).loss
    if loss.ndim:
        return MeanOver()
    return find_mean_over(examples.batches, loss_of, rounding=torch.finfo(loss.dtype).eps)


def _run(
    replica: nn.Module,
    route: LossSource,
    examples: ProbeSplit,
    layers: tuple[str, ...],
    *,
    splits: int,
    mean_over: MeanOver,
) -> _Evaluated:
    """One pass over a split: outputs batch by batch, activations recorded on the way."""
    outputs: list[ProbeOutputs] = []
    kept = _CappedLogits(outputs)
    recorded: list[RecordedOutputs] = []
    axes: dict[str, int] = {}
    sizes = [example_count(batch) for batch in examples.batches]
    chosen = stimuli_of_batches(sizes, splits=splits)
    with repeatable_randomness(), batches_of_split(sum(sizes)):
        for batch, rows, size in zip(examples.batches, chosen, sizes, strict=True):
            with torch.no_grad(), eager(), recorded_outputs(replica, layers, rows, examples=size, axes=axes) as found:
                outputs.append(kept.take(route.call(replica, to_replica(batch, replica))))
            recorded.append(found)
    activations = {layer: gather_stimuli(recorded, layer) for layer in layers}
    missing = {layer: why_not_gathered(recorded, layer) for layer, kept in activations.items() if kept is None}
    whole = _concatenated(outputs, examples.batches, mean_over)
    return _Evaluated(*whole, activations, missing, recorded[0].calls)


class _CappedLogits:
    """Brings outputs to the CPU, logits only as long as all of them fit: those of a language model do not."""

    def __init__(self, outputs: list[ProbeOutputs]) -> None:
        self._outputs = outputs
        self._bytes = 0

    def take(self, outputs: ProbeOutputs) -> ProbeOutputs:
        """Outputs of the next batch, on the CPU."""
        loss = outputs.loss.detach().cpu()
        if outputs.logits is None:
            return ProbeOutputs(loss)
        self._bytes += outputs.logits.numel() * outputs.logits.element_size()
        if self._bytes > LOGITS_CAP:
            self._outputs[:] = [ProbeOutputs(part.loss) for part in self._outputs]
            return ProbeOutputs(loss)
        targets = None if outputs.targets is None else outputs.targets.detach().cpu()
        return ProbeOutputs(loss, outputs.logits.detach().cpu(), targets)


def _concatenated(
    outputs: list[ProbeOutputs], batches: tuple[Batch, ...], mean_over: MeanOver
) -> tuple[ProbeOutputs, Tensor]:
    """All batches as one, and the losses in float64."""
    logits = [part.logits for part in outputs if part.logits is not None]
    targets = [part.targets for part in outputs if part.targets is not None]
    losses = _losses(outputs, batches, mean_over)
    whole = ProbeOutputs(losses)
    if logits and len(logits) == len(outputs):
        whole = replace(whole, logits=torch.cat(logits), targets=torch.cat(targets) if len(targets) == len(logits) else None)
    return whole, losses


def _losses(outputs: list[ProbeOutputs], batches: tuple[Batch, ...], mean_over: MeanOver) -> Tensor:
    """Loss per example where every batch has it, else the mean over all that the means of batches are over."""
    parts = [part.loss.double() for part in outputs]
    if all(part.ndim == 1 for part in parts):
        return torch.cat(parts)
    return weighted_mean(torch.stack([part.mean() for part in parts]), [mean_over(batch) for batch in batches])
