# SPDX-License-Identifier: Apache-2.0
"""Fits of a tensor at hand: compressed, swept as an ensemble, the best of each rank finished on the tensor itself."""

from dataclasses import dataclass

import torch

from lightning_interp.core.shapes import Float64, Tensor
from lightning_interp.tca.compress import Compressed, compress
from lightning_interp.tca.cp import CPFit, arranged
from lightning_interp.tca.ensemble import Ensemble, Problem, Progress, Request, full_size, sweep_ensemble
from lightning_interp.tca.flags import flagged
from lightning_interp.tca.full_sweeps import Finished, finish
from lightning_interp.tca.models import Models
from lightning_interp.tca.source import Data

FLOAT32_GRAM_FLOOR = 1e-3
"""Relative error under which a basis from float32 Gram matrices may hide what is left; bases are then made in float64."""

FULL_SWEEPS = 4
"""Most sweeps on the uncompressed tensor."""


@dataclass(frozen=True)
class Fitted:
    """An ensemble and its best fits.

    Attributes:
        ensemble: All restarts.
        fits: The best fit of each rank, finished on the full tensor where there is one.
    """

    ensemble: Ensemble
    fits: dict[int, CPFit]


def fit_data(data: Data, request: Request, *, starts: Models | None = None, on_progress: Progress | None = None) -> Fitted:
    """Fit all ranks and restarts together, and finish the best of each rank on the uncompressed tensor.

    Cost for a tensor of |X| entries: two passes to compress, then sweeps that touch only the core (all models in one batch,
    about 2 models * rank * |core| operations a sweep), then a few sweeps of two passes each for the best of each rank.

    Args:
        data: The tensor.
        request: What to fit.
        starts: Models to start from instead of random ones, of full size, weights in the last mode.
        on_progress: Told (models done, models in all).
    """
    exact = data.dtype == torch.float64
    ensemble = sweep_ensemble(_problem(data, request, exact=exact), request, starts=starts, on_progress=on_progress)
    if not exact and float(ensemble.errors.min()) < FLOAT32_GRAM_FLOOR:
        ensemble = sweep_ensemble(_problem(data, request, exact=True), request, starts=starts)
    models = full_size(ensemble.models.select(ensemble.best), ensemble.compressed, request)
    errors = ensemble.errors[ensemble.best]
    finished = finish(data, models, errors, nonnegative=request.nonnegative, sweeps=FULL_SWEEPS)
    return Fitted(ensemble, as_fits(ensemble, finished.models, finished.errors, sweeps=finished.sweeps))


def as_fits(ensemble: Ensemble, models: Models, errors: Float64[Tensor, " rank"], *, sweeps: int = 0) -> dict[int, CPFit]:
    """Fits of the best model of each rank, with flags; models are of full size, in the order of `ensemble.best`."""
    fits = {}
    for row, rank in enumerate(models.ranks.tolist()):
        factors = [factor[row, :rank].mT for factor in models.factors]
        fit = arranged(
            torch.ones(rank, dtype=factors[0].dtype, device=factors[0].device),
            factors,
            relative_error=float(errors[row]),
            converged=bool(ensemble.converged[ensemble.best[row]]),
            n_iter=int(ensemble.n_iter[ensemble.best[row]]) + sweeps,
        )
        fits[rank] = flagged(fit, ensemble.compressed)
    return fits


def _problem(data: Data, request: Request, *, exact: bool) -> Problem:
    def compression(sizes: tuple[int, ...]) -> Compressed:
        return compress(data, sizes, exact=exact)

    def finished(models: Models, errors: Tensor) -> Finished:
        return finish(data, models, errors, nonnegative=request.nonnegative, sweeps=FULL_SWEEPS)

    return Problem(data.shape, data.dtype, data.device, compression, finished)
