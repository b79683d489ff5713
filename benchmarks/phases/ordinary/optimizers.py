# SPDX-License-Identifier: Apache-2.0
"""Optimizers of ordinary trainings: torch's own, Lion, and Muon for matrices with AdamW for the rest."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from ordinary.spec import OrdinarySpec
from torch import nn

SPIKE_AT, SPIKE_STEPS = 0.4, 5
STEP_AT, STEP_FACTOR = 0.6, 0.1


class Lion(torch.optim.Optimizer):
    """Sign of an interpolated momentum.

    References:
        Chen et al. 2023, algorithm 2, https://arxiv.org/abs/2302.06675
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, weight_decay: float, betas: tuple[float, float] = (0.9, 0.99)
    ):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step."""
        for group in self.param_groups:
            slow, fast = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(group["lr"] * torch.lerp(parameter.grad, momentum, slow).sign())
                momentum.lerp_(parameter.grad, 1 - fast)


def make_optimizers(spec: OrdinarySpec, network: nn.Module) -> list[torch.optim.Optimizer]:
    """What updates the weights that are not frozen; weights of biases and norms of a Muon run go to AdamW."""
    if spec.frozen:
        for parameter in network.parameters():
            parameter.requires_grad_(False)
        network.get_submodule("readout").requires_grad_(True)
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    lr, decay = spec.lr, spec.weight_decay
    if spec.optimizer == "sgd":
        return [torch.optim.SGD(learned, lr, momentum=0.9, weight_decay=decay)]
    if spec.optimizer == "lion":
        return [Lion(learned, lr, decay)]
    if spec.optimizer == "muon":
        matrices = [parameter for parameter in learned if parameter.ndim == 2]
        others = [parameter for parameter in learned if parameter.ndim != 2]
        return [torch.optim.Muon(matrices, lr, weight_decay=decay), torch.optim.AdamW(others, 0.1 * lr)]
    return [torch.optim.AdamW(learned, lr, weight_decay=decay)]


def rate(spec: OrdinarySpec, step: int) -> float:
    """Factor on the learning rate at a step, counted from 1."""
    factor = min(1.0, step / spec.warmup) if spec.warmup else 1.0
    if spec.schedule == "cosine":
        done = max(0.0, (step - spec.warmup) / max(1, spec.steps - spec.warmup))
        factor *= 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * done))))
    elif spec.schedule == "step" and step > STEP_AT * spec.steps:
        factor *= STEP_FACTOR
    begin = int(SPIKE_AT * spec.steps)
    return factor * spec.spike if begin < step <= begin + SPIKE_STEPS else factor


def set_rates(spec: OrdinarySpec, optimizers: Iterable[Any], step: int) -> None:
    """Learning rate and weight decay of a step."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("highest_lr", group["lr"]) * rate(spec, step)
            if spec.late_decay is not None and step > spec.steps / 2:
                group["weight_decay"] = spec.late_decay
