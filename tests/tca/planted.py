# SPDX-License-Identifier: Apache-2.0
"""Tensors whose components are known, slow references, and data sources that count what is read of them."""

import itertools
from dataclasses import dataclass, field

import torch

NOISE = 0.1
FAMILIES = ("plain", "one_mode_collinear", "all_modes_collinear", "sparse")


@dataclass(frozen=True)
class Planted:
    """A noisy tensor and the components it was made of (weights in `weights`, unit columns in `factors`)."""

    tensor: torch.Tensor
    weights: torch.Tensor
    factors: list[torch.Tensor]

    @property
    def rank(self):
        return len(self.weights)


def full(weights, factors):
    """The CP model summed component by component."""
    total = torch.zeros([len(factor) for factor in factors], dtype=torch.float64)
    for r in range(len(weights)):
        outer = weights[r].double()
        for factor in factors:
            outer = outer[..., None] * factor[:, r].double()
        total += outer
    return total


def planted(shape=(30, 40, 50), rank=3, *, seed=0, noise=NOISE, family="plain", nonnegative=False, dtype=torch.float64):
    """Weights between 1 and 2, factors of a family, noise of `noise` times the signal's norm (clamped at 0 if needed)."""
    generator = torch.Generator().manual_seed(seed)
    make = _nonnegative_factor if nonnegative else _factor
    factors = [make(size, rank, family, mode, generator) for mode, size in enumerate(shape)]
    weights = 1 + torch.rand(rank, generator=generator, dtype=torch.float64).sort(descending=True).values
    signal = full(weights, factors)
    tensor = with_noise(signal, noise, generator)
    return Planted((tensor.clamp_min(0) if nonnegative else tensor).to(dtype), weights, factors)


def with_noise(signal, noise, generator):
    drawn = torch.randn(signal.shape, generator=generator, dtype=torch.float64)
    return signal + noise * drawn * signal.norm() / drawn.norm()


def training_like(shape=(40, 36, 48), rank=3, *, seed=0, noise=NOISE, nonnegative=False):
    """Sigmoid courses that rise one after another, and random stimuli and units (half of them zero if `nonnegative`)."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.linspace(0, 1, shape[0], dtype=torch.float64)
    onsets = (torch.arange(rank) + 0.5 + 0.4 * (torch.rand(rank, generator=generator) - 0.5)) / (rank + 0.5)
    courses = torch.sigmoid((time[:, None] - onsets) * 20)
    draw = torch.rand if nonnegative else torch.randn
    others = [draw(size, rank, generator=generator, dtype=torch.float64) for size in shape[1:]]
    if nonnegative:
        others = [factor * _some(*factor.shape, 0.5, generator) for factor in others]
    factors = [factor / factor.norm(dim=0) for factor in (courses, *others)]
    weights = torch.ones(rank, dtype=torch.float64)
    tensor = with_noise(full(weights, factors), noise, generator)
    return Planted(tensor.clamp_min(0) if nonnegative else tensor, weights, factors)


def congruences(fit, factors):
    """Product over modes of |cosine| of each planted component with the fitted one that goes with it (best permutation)."""
    cosines = torch.ones(factors[0].shape[1], fit.rank, dtype=torch.float64)
    for planted_factor, fitted in zip(factors, fit.factors, strict=True):
        cosines *= (planted_factor.double().T @ fitted.double()).abs()
    orders = itertools.permutations(range(fit.rank), len(cosines))
    rows = torch.arange(len(cosines))
    return max((cosines[rows, list(order)] for order in orders), key=lambda found: float(found.sum()))


def residual(tensor, fit):
    """‖X − X̂‖ / ‖X‖, from the residual in float64."""
    wide = tensor.double()
    return float((wide - full(fit.cp_weights, fit.factors)).norm() / wide.norm())


@dataclass
class CountingSource:
    """A `SnapshotSource` that notes every range read."""

    tensor: torch.Tensor
    reads: list[tuple[int, int]] = field(default_factory=list)

    @property
    def shape(self):
        return tuple(self.tensor.shape)

    @property
    def dtype(self):
        return self.tensor.dtype

    def read(self, start, stop):
        self.reads.append((start, stop))
        return self.tensor[start:stop].clone()

    @property
    def passes(self):
        """Whole passes, where every read belongs to one."""
        return sum(stop - start for start, stop in self.reads) / self.shape[0]


def _factor(size, rank, family, mode, generator):
    if family in ("one_mode_collinear", "all_modes_collinear"):
        cosine = 0.7 if family == "all_modes_collinear" else 0.9 * (mode == 1)
        basis = torch.linalg.qr(torch.randn(size, rank, generator=generator, dtype=torch.float64)).Q
        gram = (1 - cosine) * torch.eye(rank, dtype=torch.float64) + cosine
        return basis @ torch.linalg.cholesky(gram).T
    factor = torch.randn(size, rank, generator=generator, dtype=torch.float64)
    if family == "sparse":
        factor *= _some(size, rank, 0.2, generator)
    return factor / factor.norm(dim=0)


def _nonnegative_factor(size, rank, family, mode, generator):
    if family in ("one_mode_collinear", "all_modes_collinear"):
        cosine = 0.7 if family == "all_modes_collinear" else 0.9 * (mode == 1)
        blocks = torch.arange(size) % (rank + 1)  # disjoint supports: cosines are exact and all entries non-negative
        raw = torch.rand(size, generator=generator, dtype=torch.float64) + 0.1
        parts = torch.stack([raw * (blocks == block) for block in range(rank + 1)], dim=1)
        parts = parts / parts.norm(dim=0)
        return cosine**0.5 * parts[:, -1:] + (1 - cosine) ** 0.5 * parts[:, :-1]
    factor = torch.rand(size, rank, generator=generator, dtype=torch.float64)
    if family == "sparse":
        factor *= _some(size, rank, 0.3, generator)
    return factor / factor.norm(dim=0)


def _some(size, rank, share, generator):
    """True for a share of the entries, and for one of each column at least."""
    chosen = torch.rand(size, rank, generator=generator) < share
    chosen[torch.randint(size, (rank,), generator=generator), torch.arange(rank)] = True
    return chosen
