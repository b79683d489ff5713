# SPDX-License-Identifier: Apache-2.0
"""The training loop, watched by the product's monitor with its default settings."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from ordinary.datasets import examples_of
from ordinary.examples import Examples, Split, split
from ordinary.networks import make_network
from ordinary.optimizers import make_optimizers, set_rates
from ordinary.spec import Loss, OrdinarySpec
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss, one_hot
from torch.utils.data import DataLoader, TensorDataset

from lightning_interp import Monitor
from lightning_interp.core.records import ProbeOutputs, ProbeStep

PROBE_BATCH = 2048
"""Examples at a time when a snapshot is measured."""
NEEDS_PROBE_STEP: frozenset[Loss] = frozenset({"bce", "mse_one_hot"})
"""Losses that cannot be told from a batch of inputs and answers."""


def make_split(spec: OrdinarySpec) -> Split:
    """Both sides of the data of a run."""
    return split(examples_of(spec.data, seed=spec.seed, **spec.options), spec)


def train(spec: OrdinarySpec, data: Split, run_dir: Path) -> nn.Module:
    """Train one run; its records lie in the run directory then."""
    network = make_network(spec, data.train)
    if spec.pretrained:
        _pretrain(spec, data.train, network)
    optimizers = make_optimizers(spec, network)
    asked = {"probe_step": probe_step(spec.loss)} if spec.loss in NEEDS_PROBE_STEP else {}
    monitor = Monitor(run_dir, background="inline", retention="last:1", save_probe=False, **asked)
    sides = {"train_data": _loader(data.train), "heldout_data": _loader(data.heldout)}
    with monitor.watch(network, **sides, max_steps=spec.steps):
        network.train()
        batches = _batches(spec, data.train)
        for step in range(1, spec.steps + 1):
            if spec.switch and step == spec.steps // 2:
                batches = _batches(spec, _switched(spec, data.train))
            set_rates(spec, optimizers, step)
            _update(spec, network, optimizers, next(batches))
            monitor.step(step)
    return network


def _update(
    spec: OrdinarySpec, network: nn.Module, optimizers: list[torch.optim.Optimizer], batch: tuple[Tensor, Tensor]
) -> None:
    loss = losses(network(batch[0]), batch[1], spec.loss).mean()
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()


def losses(outputs: Tensor, answers: Tensor, loss: Loss) -> Tensor:
    """Loss of each example, [example]."""
    if loss == "cross_entropy":
        scores = outputs.double()  # float32 rounds a memorized loss to nothing
        found = cross_entropy(scores.movedim(-1, 1) if answers.ndim == 2 else scores, answers, reduction="none")
    elif loss == "bce":
        found = binary_cross_entropy_with_logits(outputs.double(), answers.double(), reduction="none")
    else:
        target = one_hot(answers, outputs.shape[1]) if loss == "mse_one_hot" else answers
        found = mse_loss(outputs.double(), target.double(), reduction="none")
    return found.reshape(len(found), -1).mean(1)


def probe_step(loss: Loss) -> ProbeStep:
    """What tells the monitor the loss of a batch; class scores too where there are classes."""

    def call(network: nn.Module, batch: Any) -> ProbeOutputs:
        outputs = network(batch[0])
        found = losses(outputs, batch[1], loss)
        return ProbeOutputs(found, outputs, batch[1]) if loss == "mse_one_hot" else ProbeOutputs(found)

    return call


def _loader(side: Examples) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(side.inputs, side.answers), batch_size=PROBE_BATCH)


def _batches(spec: OrdinarySpec, side: Examples) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of shuffled epochs, the last of each a smaller one; augmented where that is asked for."""
    draw = torch.Generator().manual_seed(2000 + spec.seed)
    size = spec.batch or len(side.inputs)
    while True:
        for chosen in torch.randperm(len(side.inputs), generator=draw).split(size):
            if len(chosen) > 1 or size == 1:  # batch normalization needs two
                yield _augmented(spec, side.inputs[chosen], draw), side.answers[chosen]


def _augmented(spec: OrdinarySpec, inputs: Tensor, draw: torch.Generator) -> Tensor:
    if spec.noise:
        inputs = inputs + spec.noise * torch.randn(inputs.shape, generator=draw)
    if spec.shifts:
        across = torch.randint(-spec.shifts, spec.shifts + 1, (2,), generator=draw).tolist()
        inputs = inputs.roll(across, (-2, -1))
    return inputs


def _switched(spec: OrdinarySpec, side: Examples) -> Examples:
    """What is trained on in the second half: other names for the same classes, or other places for the same pixels."""
    draw = torch.Generator().manual_seed(9000 + spec.seed)
    if spec.switch == "relabel":
        if side.classes is None:
            return replace(side, answers=-side.answers)
        return replace(side, answers=(side.answers + 1) % side.classes)
    flat = side.inputs.flatten(1)
    places = torch.randperm(flat.shape[1], generator=draw)
    return replace(side, inputs=flat[:, places].view(side.inputs.shape))


def _pretrain(spec: OrdinarySpec, side: Examples, network: nn.Module) -> None:
    """Learn other names of the same classes first, as one who fine-tunes finds a network."""
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    batches = _batches(spec, _switched(replace(spec, switch="relabel"), side))
    network.train()
    for _ in range(spec.pretrained):
        _update(spec, network, [optimizer], next(batches))
