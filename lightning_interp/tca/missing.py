# SPDX-License-Identifier: Apache-2.0
"""Missing entries: fill them in from the model, fit, and fill in again, until the observed error settles (EM)."""

import math
from dataclasses import dataclass, replace

import torch

from lightning_interp.core.errors import ConfigError, ShapeError
from lightning_interp.core.shapes import Bool, Tensor
from lightning_interp.tca.cp import CPFit, khatri_rao
from lightning_interp.tca.ensemble import Ensemble, Progress, Request, best_of, full_size
from lightning_interp.tca.fitting import Fitted, fit_data
from lightning_interp.tca.models import Models, joined
from lightning_interp.tca.source import Data, SnapshotSource, float64_device

ROUNDS = 60
"""Most times the missing entries are filled in anew for one rank."""

SWEEPS_A_ROUND = 10
"""Sweeps between two fillings: a model need not settle on entries that are about to change."""

CHAINS = 3
"""Fits of each rank that go their own way from the start; similarity is how far they agree."""

SETTLED = 1e-4
"""Relative fall of the observed error, per round, below which a rank is done."""


@dataclass(frozen=True)
class _Observed:
    tensor: Tensor
    mask: Tensor

    def filled(self, with_model: Tensor) -> Tensor:
        return torch.where(self.mask, self.tensor, with_model.to(self.tensor.dtype))

    def error(self, fit: CPFit) -> float:
        """Relative error over the observed entries, in float64."""
        wrong, energy = 0.0, 0.0
        for index in range(self.tensor.shape[0]):
            mask = self.mask[index]
            seen = self.tensor[index][mask].double()
            wrong += float((seen - one_snapshot(fit, index)[mask]).square().sum())
            energy += float(seen.square().sum())
        return math.sqrt(wrong / energy)


def one_snapshot(fit: CPFit, index: int) -> Tensor:
    """The model's slice at one entry of axis 0, float64."""
    row = replace(fit, factors=(fit.factors[0][index : index + 1].double(), *(f.double() for f in fit.factors[1:])))
    return replace(row, cp_weights=fit.cp_weights.double()).full()[0]


def fit_with_missing(
    tensor: Tensor | SnapshotSource,
    mask: Bool[Tensor, "..."],
    request: Request,
    *,
    device: str | torch.device,
    on_progress: Progress | None = None,
) -> Fitted:
    """Fit all ranks to the observed entries.

    `CHAINS` times over, missing entries start at the mean of their fibre over snapshots plus noise, and a share of the
    restarts is fitted to that; the best of each rank then goes on, filling in what is missing by itself. So chains that
    agree do so because of the data. Each round lowers the observed error (it is an EM step). The tensor must be in memory;
    each round costs what a fit of one model costs, and rounds grow with the share that is missing.

    Args:
        tensor: The data; unobserved entries may hold anything.
        mask: True where an entry is observed, of the tensor's shape.
        request: What to fit.
        device: Where to compute.
        on_progress: Told (ranks done, ranks in all).

    Returns:
        The fits of all chains, errors over observed entries.

    Raises:
        ShapeError: The mask does not fit the tensor, or an observed entry is not finite.
        ConfigError: A slice has no observed entry, or the tensor comes as a `SnapshotSource`.
    """
    observed = _checked(tensor, mask, float64_device(device))
    several = replace(request, restarts=-(-request.restarts // CHAINS))
    firsts = [
        fit_data(
            _first_fill(observed, seed=request.seed + chain, request=request), replace(several, seed=request.seed + chain)
        )
        for chain in range(CHAINS)
    ]
    chains: list[Fitted] = []
    for done, rank in enumerate(request.ranks, start=1):
        one = replace(request, ranks=(rank,))
        chains += [_filled_in(observed, _best_start(first, rank, request), one, device=device) for first in firsts]
        if on_progress is not None:
            on_progress(done, len(request.ranks))
    return _together(chains, request)


def _first_fill(observed: _Observed, *, seed: int, request: Request) -> Data:
    """Fibre means with noise of the data's own size, other for each chain: a common fill would make the chains agree."""
    means = _fibre_means(observed)
    spread = (observed.tensor - means)[observed.mask].std()
    noise = torch.randn(means.shape, generator=torch.Generator().manual_seed(seed), dtype=means.dtype)
    fill = means + spread * noise.to(means.device)
    return Data(
        observed.filled(fill.clamp_min(0) if request.nonnegative else fill),
        device=observed.tensor.device,
        nonnegative=request.nonnegative,
    )


def _best_start(first: Fitted, rank: int, request: Request) -> Models:
    ensemble = first.ensemble
    row = ensemble.best[torch.nonzero(ensemble.models.ranks[ensemble.best] == rank)[0]]
    return full_size(ensemble.models.select(row), ensemble.compressed, request)


def _together(chains: list[Fitted], request: Request) -> Fitted:
    """All chains as one ensemble; the compression is that of the last, of the largest rank."""
    ensembles = [chain.ensemble for chain in chains]
    fits = [fit for chain in chains for fit in chain.fits.values()]
    models = joined([full_size(e.models, e.compressed, request) for e in ensembles])
    errors = torch.tensor([fit.relative_error for fit in fits], dtype=torch.float64, device=models.ranks.device)
    best = best_of(models.ranks, errors)
    converged, n_iter = torch.cat([e.converged for e in ensembles]), torch.cat([e.n_iter for e in ensembles])
    ensemble = Ensemble(ensembles[-1].compressed, models, errors, converged, n_iter, best)
    return Fitted(ensemble, {fits[row].rank: fits[row] for row in best.tolist()})


def _filled_in(observed: _Observed, start: Models, request: Request, *, device: str | torch.device) -> Fitted:
    """One model until its observed error settles, with what is missing filled in by itself."""
    (rank,) = request.ranks
    request = replace(request, max_iter=min(request.max_iter, SWEEPS_A_ROUND))
    before, error, settled = math.inf, math.inf, False
    fill = _full(start)
    for _ in range(ROUNDS):
        fitted = fit_data(Data(observed.filled(fill), device=device), request, starts=start)
        fit = fitted.fits[rank]
        fill, start = fit.full(), full_size(fitted.ensemble.models, fitted.ensemble.compressed, request)
        error = observed.error(fit)
        settled = before - error <= SETTLED * error
        if settled:
            break
        before = error
    flags = (*(flag for flag in fit.flags if flag != "not_converged"), *(() if settled else ("not_converged",)))
    fit = replace(fit, relative_error=error, converged=settled, flags=flags)
    return Fitted(fitted.ensemble, {rank: fit})


def _full(model: Models) -> Tensor:
    """The tensor of a single model."""
    factors = [factor[0].mT for factor in model.factors]
    return (factors[0] @ khatri_rao(factors[1:]).T).reshape([len(factor) for factor in factors])


def _checked(tensor: Tensor | SnapshotSource, mask: Tensor, device: torch.device) -> _Observed:
    if not isinstance(tensor, Tensor):
        raise ConfigError("mask: works on a tensor in memory; load the snapshots into one, or leave the mask out.")
    if not isinstance(mask, Tensor):
        raise ShapeError(f"mask: expected a tensor of booleans, True where observed, got a {type(mask).__name__}.")
    if tuple(mask.shape) != tuple(tensor.shape) or mask.dtype != torch.bool:
        raise ShapeError(
            f"mask: expected booleans of the tensor's shape {tuple(tensor.shape)}, True where observed; got {mask.dtype} of "
            f"shape {tuple(mask.shape)}."
        )
    tensor, mask = tensor.detach().to(device), mask.to(device)
    bad = mask & ~torch.isfinite(tensor)
    if bool(bad.any()):
        place = tuple(torch.nonzero(bad)[0].tolist())
        raise ShapeError(f"tensor: entry {place} is {float(tensor[place])} but the mask says it is observed.")
    for axis in range(tensor.ndim):
        seen = mask.movedim(axis, 0).flatten(1).any(dim=1)
        if not bool(seen.all()):
            entry = int(torch.nonzero(~seen)[0])
            raise ConfigError(f"mask: entry {entry} of axis {axis} is observed nowhere; leave it out of the tensor.")
    return _Observed(torch.where(mask, tensor, 0), mask)


def _fibre_means(observed: _Observed) -> Tensor:
    """Mean over snapshots of what is observed of each fibre; the overall mean where nothing is."""
    counts = observed.mask.sum(dim=0)
    sums = observed.tensor.sum(dim=0)
    overall = observed.tensor.sum() / observed.mask.sum()
    return torch.where(counts > 0, sums / counts.clamp_min(1), overall).expand(observed.tensor.shape)
