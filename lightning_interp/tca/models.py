# SPDX-License-Identifier: Apache-2.0
"""Many CP models of one tensor side by side: factors in one array per mode, one row for each model and component."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lightning_interp.core.shapes import Bool, Float, Int, Tensor


@dataclass(frozen=True)
class Models:
    """A batch of CP models, padded to the largest rank among them with components that are zero.

    Attributes:
        factors: One array per mode, [model, component, size]; weights are in the last mode, other columns have unit norm.
        ranks: Components of each model.
        numbers: Which model each row is, in the order they were made.
    """

    factors: tuple[Float[Tensor, "model component _"], ...]
    ranks: Int[Tensor, " model"]
    numbers: Int[Tensor, " model"]

    def __len__(self) -> int:
        return self.ranks.shape[0]

    @property
    def width(self) -> int:
        """Components there is room for."""
        return self.factors[0].shape[1]

    def mask(self) -> Bool[Tensor, "model component"]:
        """True where a component is a model's own, False where it is padding."""
        return torch.arange(self.width, device=self.ranks.device)[None, :] < self.ranks[:, None]

    def select(self, rows: Int[Tensor, " row"]) -> "Models":
        """Some of the models, with no more room than they need."""
        ranks = self.ranks[rows]
        width = int(ranks.max())
        return Models(tuple(factor[rows, :width] for factor in self.factors), ranks, self.numbers[rows])

    def replaced(self, rows: Int[Tensor, " row"], models: "Models") -> "Models":
        """These models with some rows taken from `models`, which may have less room."""
        factors = []
        for old, new in zip(self.factors, models.factors, strict=True):
            changed = old.clone()
            changed[rows, : new.shape[1]] = new
            changed[rows, new.shape[1] :] = 0
            factors.append(changed)
        return Models(tuple(factors), self.ranks, self.numbers)

    def to(self, device: torch.device) -> "Models":
        """The same models on another device."""
        return Models(tuple(factor.to(device) for factor in self.factors), self.ranks.to(device), self.numbers.to(device))

    def resized(self, sizes: Sequence[int]) -> "Models":
        """The same models in a larger core: zero coordinates along the directions that are new."""
        factors = tuple(
            torch.nn.functional.pad(factor, (0, size - factor.shape[2]))
            for factor, size in zip(self.factors, sizes, strict=True)
        )
        return Models(factors, self.ranks, self.numbers)


def random_models(
    ranks: Sequence[int], restarts: int, sizes: Sequence[int], *, seed: int, nonnegative: bool, dtype: torch.dtype
) -> Models:
    """Random starts, `restarts` for each rank: normal columns, or uniform ones where they must not be negative.

    Each model draws from a generator of its own, seeded by (seed, rank, restart), so that a model's start does not depend on
    which others are in the batch. Made on the CPU, so that every device starts from the same.
    """
    repeated = torch.tensor(list(ranks)).repeat_interleave(restarts)
    factors = [torch.zeros(len(repeated), max(ranks), size, dtype=dtype) for size in sizes]
    for row, rank in enumerate(repeated.tolist()):
        generator = torch.Generator().manual_seed(_mixed(seed, rank, row % restarts))
        for factor in factors:
            draw = torch.rand if nonnegative else torch.randn
            start = draw(rank, factor.shape[2], generator=generator, dtype=dtype)
            factor[row, :rank] = start / torch.linalg.vector_norm(start, dim=1, keepdim=True)
    return Models(tuple(factors), repeated, torch.arange(len(repeated)))


def joined(batches: Sequence[Models]) -> Models:
    """Several batches as one, numbered anew in this order."""
    width = max(batch.width for batch in batches)
    modes = range(len(batches[0].factors))
    factors = tuple(
        torch.cat([torch.nn.functional.pad(batch.factors[n], (0, 0, 0, width - batch.width)) for batch in batches])
        for n in modes
    )
    ranks = torch.cat([batch.ranks for batch in batches])
    return Models(factors, ranks, torch.arange(len(ranks), device=ranks.device))


def _mixed(seed: int, rank: int, restart: int) -> int:
    """One seed from three numbers, well apart for neighbours (multipliers are large odd numbers)."""
    return (seed * 0x9E3779B97F4A7C15 + rank * 0xBF58476D1CE4E5B9 + restart * 0x94D049BB133111EB) % 2**63
