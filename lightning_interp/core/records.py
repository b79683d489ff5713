# SPDX-License-Identifier: Apache-2.0
"""The values that travel between stages: snapshots in, observations through, records out. All frozen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import torch

from lightning_interp.core.series import Series
from lightning_interp.core.shapes import Float, Float64, Int, Shaped, Tensor

Split = Literal["train", "heldout"]
"""Which part of the probe: examples the network trains on, or examples it does not."""

SPLITS: tuple[Split, ...] = ("train", "heldout")

Batch = Any
"""One batch as the user's loader yields it after transfer hooks: a tensor, or nested tuples, lists and dicts of them."""


@dataclass(frozen=True)
class Snapshot:
    """What one optimizer step left behind.

    Attributes:
        step: Optimizer step (``trainer.global_step``).
        epoch: Epoch the step belongs to.
        weights: state_dict tensors by name, wrapper prefixes stripped, tied names all present and sharing one tensor.
        scalars: Values the user's own code logged, as of this step.
    """

    step: int
    epoch: int
    weights: Mapping[str, Tensor]
    scalars: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ProbeSplit:
    """Fixed examples of one split.

    Attributes:
        batches: Batches as the training step would receive them.
        indices: Index of each example in the source data set, in order; empty for iterable data.
    """

    batches: tuple[Batch, ...]
    indices: tuple[int, ...] = ()


@dataclass(frozen=True)
class Probe:
    """Fixed examples every snapshot is evaluated on, chosen once at the start of training.

    Attributes:
        train: Examples from the training data.
        heldout: Examples from the first validation loader, or None where there is none.
        cooccurrence: For token-pair data, True at [token, class] where the whole training set shows the class
            with that token in any slot; None elsewhere.
    """

    train: ProbeSplit
    heldout: ProbeSplit | None = None
    cooccurrence: Shaped[Tensor, "token class"] | None = None

    def split(self, name: Split) -> ProbeSplit | None:
        """The examples of one split, or None where there are none."""
        return self.train if name == "train" else self.heldout


@dataclass(frozen=True)
class ProbeOutputs:
    """What a module gives for examples of the probe, differentiable with respect to its parameters.

    Attributes:
        loss: Loss of each example, or one mean over them; nats where it is a cross-entropy. NaN with `logits` but no
            `targets` means examples without labels, of which only the scores are looked at.
        logits: Class scores [example, class], where the module classifies.
        targets: Class index of each example, where the module classifies and the classes are known.
    """

    loss: Float[Tensor, " example"] | Float[Tensor, ""]
    logits: Float[Tensor, "example class"] | None = None
    targets: Int[Tensor, " example"] | None = None


@dataclass(frozen=True)
class Record:
    """Everything computed from one snapshot: one line of records.jsonl.

    Attributes:
        step: Optimizer step of the snapshot.
        attempt: 0 for the first start of the run, one more after each resume.
        values: Finite scalars by name (INTERFACES: record names), losses in nats.
        layers: Per measure, one value for each name in run.json's ``layers``, None where it does not apply.
        skipped: Names that have no value at this step, each with the reason.
        vectors: Several numbers under one name, of float32 precision: for figures, neither logged nor judged.
    """

    step: int
    attempt: int
    values: Mapping[str, float]
    layers: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    vectors: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@runtime_checkable
class Observation(Protocol):
    """What one snapshot does on the probe; everything is computed when first asked for and kept while the step lasts.

    Methods that need a replica of the module raise `MeasureSkipped` with the reason where there is none.
    """

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot under observation."""
        ...

    @property
    def probe(self) -> Probe | None:
        """The fixed probe, None where the run has none."""
        ...

    @property
    def history(self) -> Series:
        """Scalars of earlier snapshots by name; this snapshot is not among them."""
        ...

    @property
    def current_values(self) -> Mapping[str, float]:
        """Scalars of this snapshot that were measured before; can be empty."""
        ...

    @property
    def layers(self) -> tuple[str, ...]:
        """Activation layers in run.json order."""
        ...

    @property
    def parameters(self) -> tuple[str, ...]:
        """Selected state_dict names, tied names once, in state_dict order."""
        ...

    def weight(self, name: str) -> Tensor:
        """One state_dict tensor, in its own dtype, on the CPU."""
        ...

    def has_split(self, split: Split) -> bool:
        """Whether the probe has this split."""
        ...

    def inputs(self, split: Split) -> Tensor:
        """First tensor of every batch of the split, concatenated: [example, ...], on the CPU."""
        ...

    def outputs(self, split: Split) -> ProbeOutputs:
        """Losses, logits and targets of the split, detached, on the CPU."""
        ...

    def losses(self, split: Split) -> Float64[Tensor, " example"] | Float64[Tensor, ""]:
        """Loss per example in float64 (cross-entropy recomputed from the logits where there are logits)."""
        ...

    def exchanged_loss(self, split: Split) -> Float64[Tensor, ""]:
        """Mean loss on the split where each example is given the answer of another.

        Raises:
            MeasureSkipped: Answers cannot be told from inputs, or the loss of a constant prediction is known without it.
        """
        ...

    def activations(self, layer: str, split: Split) -> Float[Tensor, "stimulus unit"]:
        """Output of one layer on the split, detached, on the CPU, at most 256 stimuli x 512 units."""
        ...

    def gradients(self, split: Split) -> Mapping[str, Tensor]:
        """Gradient of the mean loss on the split with respect to each parameter."""
        ...

    def loss_at(self, weights: Mapping[str, Tensor], split: Split) -> Float64[Tensor, ""]:
        """Mean loss on the split with some weights replaced, for ablations."""
        ...


ProbeStep = Callable[[torch.nn.Module, Batch], ProbeOutputs]
"""User function giving the outputs of a module for one batch, for modules whose loss cannot be found otherwise."""
