# SPDX-License-Identifier: Apache-2.0
"""Tensors to decompose: planted ones, and the activations of a network that learns modular addition."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import cross_entropy

from lightning_interp.demo.data import modular_addition_table, unordered_split
from lightning_interp.demo.model import ModularAddition

CACHE = Path(__file__).parents[1] / ".cache"
SNAPSHOTS, STIMULI = 91, 512


@dataclass(frozen=True)
class Planted:
    """A tensor and the factors it was made of."""

    tensor: Tensor
    factors: tuple[Tensor, ...]


def training_like(shape: tuple[int, int, int], rank: int, *, noise: float, seed: int, nonnegative: bool) -> Planted:
    """Components as training makes them: courses that rise like a sigmoid, some falling again, all of them collinear.

    Args:
        shape: (snapshot, stimulus, unit).
        rank: Components.
        noise: Norm of the Gaussian noise relative to the signal's.
        seed: Seed.
        nonnegative: Non-negative sparse stimulus and unit factors and a tensor clamped at zero, as after a ReLU; otherwise
            stimuli and units are Gaussian (stimuli around 0.5).
    """
    draw = torch.Generator().manual_seed(seed)
    snapshots, stimuli, units = shape
    time = torch.linspace(0, 1, snapshots)[:, None]
    start = 0.8 * torch.rand(rank, generator=draw)
    width = 0.03 + 0.12 * torch.rand(rank, generator=draw)
    falls = torch.rand(rank, generator=draw) < 0.4
    fall = torch.where(falls, 1 - 0.8 * torch.sigmoid((time - start - 0.3) / 0.1), 1.0)
    courses = torch.sigmoid((time - start) / width) * fall + 0.02
    if nonnegative:
        loaded = (torch.rand(stimuli, rank, generator=draw) < 0.5) * torch.rand(stimuli, rank, generator=draw)
        inputs = loaded + 0.05 * torch.rand(stimuli, rank, generator=draw)
        sparse = torch.rand(units, rank, generator=draw) < 0.4
        neurons = sparse * torch.rand(units, rank, generator=draw).square()
    else:
        inputs = torch.randn(stimuli, rank, generator=draw) + 0.5
        neurons = torch.randn(units, rank, generator=draw)
    factors = (courses, inputs, neurons)
    noisy = with_noise(torch.einsum("ir,jr,kr->ijk", *factors), noise, draw)
    return Planted(noisy.clamp_min(0) if nonnegative else noisy, factors)


def gaussian(shape: tuple[int, int, int], rank: int, *, noise: float, seed: int) -> Planted:
    """Independent Gaussian factors: the easy case, in which plain ALS converges in twenty sweeps."""
    draw = torch.Generator().manual_seed(seed)
    factors = tuple(torch.randn(size, rank, generator=draw) for size in shape)
    return Planted(with_noise(torch.einsum("ir,jr,kr->ijk", *factors), noise, draw), factors)


def with_noise(signal: Tensor, noise: float, draw: torch.Generator) -> Tensor:
    """The signal with Gaussian noise of a norm relative to its own."""
    grain = torch.randn(signal.shape, generator=draw, dtype=signal.dtype)
    return signal + noise * grain * (signal.norm() / grain.norm())


def mlp_activations(*, steps: int = 7000, p: int = 43, seed: int = 1) -> Tensor:
    """Post-ReLU activations of the demo's network at width 128 while it groks: 91 snapshots x 512 stimuli x 512 units.

    Full-batch AdamW (lr 1e-3, weight decay 3) on 60 % of the unordered pairs; snapshots evenly in log(step + 1); 512 pairs
    drawn evenly from the table, train and held-out alike; units are the whole hidden layer. Each snapshot is scaled to an
    RMS of one, as the product does. Trained once (about four minutes of two cores) and kept in benchmarks/.cache.
    """
    cached = CACHE / f"mlp_p{p}_{steps}.safetensors"
    if cached.exists():
        return load_file(cached)["activations"]
    torch.manual_seed(seed)
    model = ModularAddition(p, d_model=128)
    tokens, answers = modular_addition_table(p)
    train = unordered_split(p, fraction=0.6, seed=seed)
    stimuli = torch.linspace(0, p * p - 1, STIMULI).long()
    wanted = _snapshot_steps(steps)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=3.0)
    seen: list[Tensor] = []
    model.mlp_act.register_forward_hook(lambda _module, _inputs, output: seen.append(output.detach()))
    snapshots = []
    for step in range(steps + 1):
        if step in wanted:
            with torch.no_grad():
                model(tokens[stimuli])
            snapshots.append(seen[-1] / seen[-1].square().mean().sqrt())
        seen.clear()
        optimizer.zero_grad()
        cross_entropy(model(tokens[train]).double(), answers[train]).backward()
        optimizer.step()
    activations = torch.stack(snapshots)
    CACHE.mkdir(exist_ok=True)
    save_file({"activations": activations}, cached)
    return activations


def _snapshot_steps(last: int) -> set[int]:
    """Distinct steps, as evenly in log(step + 1) as whole numbers allow, 0 and the last among them."""
    count = SNAPSHOTS
    while True:
        marks = torch.expm1(torch.linspace(0, float(torch.log1p(torch.tensor(float(last)))), count)).round().long()
        steps = sorted(set(marks.tolist()))
        if len(steps) >= SNAPSHOTS:
            return {0, last, *steps[-SNAPSHOTS + 1 :]}
        count += 1
