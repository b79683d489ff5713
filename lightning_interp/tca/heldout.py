# SPDX-License-Identifier: Apache-2.0
"""Error on data a model has not seen: whole fibres (stimulus, unit), and blocks of consecutive snapshots.

Single entries held out would be guessed from their neighbours in time, which are near copies. Instead two modes are cut:
the model is fitted where neither cut is, its factors are continued into each cut alone by least squares, and it predicts the
block where the cuts cross. All data used are dense, and nothing of the block enters the fit.

References:
    Owen & Perry 2009, bi-cross-validation, https://doi.org/10.1214/08-AOAS227, carried over from matrices to CP models.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from lightning_interp.core.shapes import Float, Float64, Int, Tensor
from lightning_interp.tca.compress import compress
from lightning_interp.tca.cp import CPFit, khatri_rao
from lightning_interp.tca.models import Models, joined
from lightning_interp.tca.source import Data
from lightning_interp.tca.sweeps import gram, product, sweep_until_converged
from lightning_interp.tca.updates import hals, least_squares

SIDE = 96
"""Most entries of each mode but the snapshots that are looked at; a seeded subset beyond that."""

HELD_SHARE = 1 / 3
FOLDS = 2
HALS_PASSES = 10
TOL = 1e-4


@dataclass(frozen=True)
class Cut:
    """What one fold holds out: entries `first` of mode `modes[0]` crossed with entries `second` of mode `modes[1]`."""

    modes: tuple[int, int]
    first: Int[Tensor, " _"]
    second: Int[Tensor, " _"]


@dataclass(frozen=True)
class HeldoutErrors:
    """Held-out errors by rank.

    Attributes:
        mean: Relative error ‖X − X̂‖ / ‖X‖ on held-out blocks, mean over folds.
        standard_error: Standard error of that mean, of the differences between folds at the best rank.
        folds: Errors of each fold, fibres first, then blocks of snapshots.
    """

    mean: Mapping[int, float]
    standard_error: Mapping[int, float]
    folds: Mapping[int, tuple[float, ...]]


def heldout_errors(data: Data, fits: Mapping[int, CPFit], *, nonnegative: bool, seed: int, max_iter: int) -> HeldoutErrors:
    """Relative error of each rank on data held out, over `FOLDS` cuts of fibres and `FOLDS` of snapshot blocks.

    Looks at all snapshots and a seeded subset of at most `SIDE` entries of every other mode. Each fold's models start
    from the full fits' rows and are swept to convergence on the retained part, so that a fold does not end in a worse
    local minimum than the fit it judges.

    Args:
        data: The tensor.
        fits: A fit of each rank.
        nonnegative: Whether factors may not be negative.
        seed: Seed of the subset and the cuts.
        max_iter: Most sweeps.

    Returns:
        Errors by rank; empty mappings where every fold would be fitted to, or judged by, nothing but zeros.
    """
    generator = torch.Generator().manual_seed(seed)
    kept = _subset(data.shape, generator)
    part = _gather(data, kept)
    rows = {rank: [f[k.to(f.device)] for f, k in zip(fit.factors, kept, strict=True)] for rank, fit in fits.items()}
    models = _as_models(rows, fits)
    folds = [_fold(part, models, cut, nonnegative=nonnegative, max_iter=max_iter) for cut in _cuts(part.shape, generator)]
    judged = [errors for errors in folds if errors is not None]
    if not judged:
        return HeldoutErrors({}, {}, {})
    table = torch.stack(judged)
    errors = {rank: tuple(table[:, n].tolist()) for n, rank in enumerate(rows)}
    best = min(errors, key=lambda rank: sum(errors[rank]))
    spread = {rank: _standard_error(values, errors[best]) for rank, values in errors.items()}
    return HeldoutErrors({rank: sum(v) / len(v) for rank, v in errors.items()}, spread, errors)


def _standard_error(values: tuple[float, ...], best: tuple[float, ...]) -> float:
    """Of the mean difference to the best rank: folds differ far more among themselves than ranks do within one."""
    if len(values) < 2:
        return 0.0
    differences = torch.tensor(values, dtype=torch.float64) - torch.tensor(best, dtype=torch.float64)
    return float(differences.std() / math.sqrt(len(values)))


def _subset(shape: Sequence[int], generator: torch.Generator) -> list[Tensor]:
    chosen = [torch.randperm(size, generator=generator)[:SIDE].sort().values for size in shape[1:]]
    return [torch.arange(shape[0]), *chosen]


def _gather(data: Data, kept: list[Tensor]) -> Tensor:
    parts = []
    for _, chunk in data.chunks():
        for mode, entries in enumerate(kept[1:], start=1):
            chunk = chunk.index_select(mode, entries.to(chunk.device))
        parts.append(chunk)
    return torch.cat(parts)


def _as_models(rows: Mapping[int, list[Tensor]], fits: Mapping[int, CPFit]) -> Models:
    batches = []
    for number, (rank, factors) in enumerate(rows.items()):
        weighted = [*factors[:-1], factors[-1] * fits[rank].cp_weights]
        batch = tuple(factor.mT[None] for factor in weighted)
        device = factors[0].device
        batches.append(Models(batch, torch.tensor([rank], device=device), torch.tensor([number], device=device)))
    return joined(batches)


def _cuts(shape: Sequence[int], generator: torch.Generator) -> Iterator[Cut]:
    """Fibres: random entries of modes 1 and 2. Blocks: consecutive snapshots inside the run, random entries of mode 1."""
    for _ in range(FOLDS):
        yield Cut((1, len(shape) - 1), _random(shape[1], generator), _random(shape[-1], generator))
    length = max(1, round(shape[0] * HELD_SHARE / 2))
    for fold in range(FOLDS):
        start = round((fold + 1) * (shape[0] - length) / (FOLDS + 1))
        yield Cut((0, 1), torch.arange(start, start + length), _random(shape[1], generator))


def _random(size: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(size, generator=generator)[: max(1, round(size * HELD_SHARE))].sort().values


def _fold(part: Tensor, models: Models, cut: Cut, *, nonnegative: bool, max_iter: int) -> Float64[Tensor, " model"] | None:
    """Error of each model on the block where the cuts cross; None where there is only silence to fit or to judge."""
    (a, b), device = cut.modes, part.device
    held = [cut.first.to(device), cut.second.to(device)]
    rest = [_without(part.shape[mode], entries) for mode, entries in zip((a, b), held, strict=True)]
    retained, block = _pick(part, (a, b), rest), _pick(part, (a, b), held).double()
    if not bool(retained.any()) or not bool(block.any()):
        return None
    fitted = _refit(retained, _restricted(models, (a, b), rest), nonnegative=nonnegative, max_iter=max_iter)
    into_a = _continued(_pick(part, (a, b), [held[0], rest[1]]), fitted, a, nonnegative=nonnegative)
    into_b = _continued(_pick(part, (a, b), [rest[0], held[1]]), fitted, b, nonnegative=nonnegative)
    factors = [factor.double() for factor in fitted.factors]
    factors[a], factors[b] = into_a, into_b
    return torch.stack([_relative_error(block, [factor[m].mT for factor in factors]) for m in range(len(models))])


def _relative_error(block: Tensor, factors: list[Tensor]) -> Float64[Tensor, ""]:
    model = (factors[0] @ khatri_rao(factors[1:]).T).reshape(block.shape)
    wrong, energy = (block - model).square().sum(), block.square().sum()
    return (wrong / energy.clamp_min(torch.finfo(torch.float64).tiny)).sqrt()


def _refit(retained: Tensor, models: Models, *, nonnegative: bool, max_iter: int) -> Models:
    data = Data(retained, device=retained.device)
    size = 2 * models.width
    compressed = compress(data, tuple(min(size, side) for side in data.shape))
    if nonnegative:
        return sweep_until_converged(compressed, models, nonnegative=True, tol=TOL, max_iter=max_iter).models
    inside = tuple(factor.double() @ basis for factor, basis in zip(models.factors, compressed.bases, strict=True))
    start = Models(inside, models.ranks, models.numbers)
    swept = sweep_until_converged(compressed, start, nonnegative=False, tol=TOL, max_iter=max_iter).models
    outside = tuple(factor @ basis.T for factor, basis in zip(swept.factors, compressed.bases, strict=True))
    return Models(outside, models.ranks, models.numbers)


def _continued(side: Tensor, models: Models, mode: int, *, nonnegative: bool) -> Float64[Tensor, "model component entry"]:
    """Rows of one mode's factors for entries the fit has not seen, given all other factors."""
    others = [factor.double() for n, factor in enumerate(models.factors) if n != mode]
    columns = khatri_rao([factor.flatten(0, 1).mT for factor in others])
    unfolded = side.movedim(mode, 0).reshape(side.shape[mode], -1).double()
    mttkrp = (unfolded @ columns).T.reshape(len(models), models.width, -1)
    grams = product([gram(factor) for factor in others])
    rows = least_squares(mttkrp, mttkrp, grams)
    if nonnegative:
        rows = rows.clamp_min(0)
        for _ in range(HALS_PASSES):
            rows = hals(rows, mttkrp, grams)
    return rows


def _pick(tensor: Tensor, modes: tuple[int, int], entries: Sequence[Tensor]) -> Float[Tensor, "..."]:
    for mode, chosen in zip(modes, entries, strict=True):
        tensor = tensor.index_select(mode, chosen)
    return tensor


def _restricted(models: Models, modes: tuple[int, int], entries: Sequence[Tensor]) -> Models:
    factors = list(models.factors)
    for mode, chosen in zip(modes, entries, strict=True):
        factors[mode] = factors[mode].index_select(2, chosen)
    return Models(tuple(factors), models.ranks, models.numbers)


def _without(size: int, entries: Tensor) -> Tensor:
    keep = torch.ones(size, dtype=torch.bool, device=entries.device)
    keep[entries] = False
    return torch.nonzero(keep)[:, 0]
