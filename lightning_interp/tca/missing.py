# SPDX-License-Identifier: Apache-2.0
"""Missing entries: fill them in from the model, fit, and fill in again, until the observed error settles (EM)."""

import math
from dataclasses import dataclass, replace

import torch

from lightning_interp.errors import ConfigError, ShapeError
from lightning_interp.shapes import Bool, Tensor
from lightning_interp.tca.cp import CPFit
from lightning_interp.tca.ensemble import Ensemble, Progress, Request, best_of, full_size
from lightning_interp.tca.fitting import Fitted, fit_data
from lightning_interp.tca.models import Models, joined
from lightning_interp.tca.source import Data, SnapshotSource, check_device

ROUNDS = 60
"""Most times the missing entries are filled in anew for one rank."""

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
) -> tuple[Data, Fitted]:
    """Fit all ranks to the observed entries.

    Missing entries start at the mean of their fibre over snapshots; then, rank by rank, the best model fills them in and all
    restarts of that rank go on from where they were. Each round lowers the observed error (it is an EM step). The tensor
    must be in memory; each round costs what a fit of that rank costs, and rounds grow with the share that is missing.

    Args:
        tensor: The data; unobserved entries may hold anything.
        mask: True where an entry is observed, of the tensor's shape.
        request: What to fit.
        device: Where to compute.
        on_progress: Told (ranks done, ranks in all).

    Returns:
        The data as the largest rank fills them in, and the fits; their `relative_error` is over observed entries.

    Raises:
        ShapeError: The mask does not fit the tensor, or an observed entry is not finite.
        ConfigError: A slice has no observed entry, or the tensor comes as a `SnapshotSource`.
    """
    observed = _checked(tensor, mask, check_device(device))
    data = Data(observed.filled(_fibre_means(observed)), device=device, nonnegative=request.nonnegative)
    first = fit_data(data, request)
    starts = full_size(first.ensemble.models, first.ensemble.compressed, request)
    done: list[Fitted] = []
    for rank in request.ranks:
        of_rank = starts.select(torch.nonzero(starts.ranks == rank)[:, 0])
        data, fitted = _filled_in(observed, of_rank, first.fits[rank], replace(request, ranks=(rank,)), device=device)
        done.append(fitted)
        if on_progress is not None:
            on_progress(len(done), len(request.ranks))
    return data, _together(done, request)


def _together(done: list[Fitted], request: Request) -> Fitted:
    """Results of all ranks as one; the compression is that of the largest rank."""
    ensembles = [fitted.ensemble for fitted in done]
    models = joined([full_size(e.models, e.compressed, request) for e in ensembles])
    errors = torch.cat([e.errors for e in ensembles])
    ensemble = Ensemble(
        ensembles[-1].compressed,
        models,
        errors,
        torch.cat([e.converged for e in ensembles]),
        torch.cat([e.n_iter for e in ensembles]),
        best_of(models.ranks, errors),
    )
    return Fitted(ensemble, {rank: fit for fitted in done for rank, fit in fitted.fits.items()})


def _filled_in(
    observed: _Observed, starts: Models, fit: CPFit, request: Request, *, device: str | torch.device
) -> tuple[Data, Fitted]:
    """One rank until its observed error settles."""
    (rank,) = request.ranks
    before, error, settled = math.inf, math.inf, False
    for _ in range(ROUNDS):
        data = Data(observed.filled(fit.full()), device=device)
        fitted = fit_data(data, request, starts=starts)
        fit = fitted.fits[rank]
        starts = full_size(fitted.ensemble.models, fitted.ensemble.compressed, request)
        error = observed.error(fit)
        settled = before - error <= SETTLED * error
        if settled:
            break
        before = error
    flags = fit.flags if settled else tuple(dict.fromkeys((*fit.flags, "not_converged")))
    fit = replace(fit, relative_error=error, converged=fit.converged and settled, flags=flags)
    return data, Fitted(fitted.ensemble, {rank: fit})


def _checked(tensor: Tensor | SnapshotSource, mask: Tensor, device: torch.device) -> _Observed:
    if not isinstance(tensor, Tensor):
        raise ConfigError("mask: works on a tensor in memory; load the snapshots into one, or leave the mask out.")
    if tuple(mask.shape) != tuple(tensor.shape) or mask.dtype != torch.bool:
        raise ShapeError(
            f"mask: expected booleans of the tensor's shape {tuple(tensor.shape)}, True where observed; got {mask.dtype} of "
            f"shape {tuple(mask.shape)}."
        )
    tensor, mask = tensor.to(device), mask.to(device)
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
