# SPDX-License-Identifier: Apache-2.0
"""The two ways in: fit one rank, or fit many and choose among them."""

from collections.abc import Iterable, Sequence

import torch

from lightning_interp.core.errors import ConfigError
from lightning_interp.core.shapes import Bool, Tensor
from lightning_interp.core.tca_settings import most_components
from lightning_interp.tca.corcondia import core_consistency
from lightning_interp.tca.cp import CPFit
from lightning_interp.tca.ensemble import Ensemble, Progress, Request
from lightning_interp.tca.fitting import Fitted, fit_data
from lightning_interp.tca.heldout import heldout_errors
from lightning_interp.tca.missing import fit_with_missing
from lightning_interp.tca.selection import RankSelection, Row, recommend
from lightning_interp.tca.similarity import similarities
from lightning_interp.tca.source import Data, SnapshotSource

RESTARTS, TOL, MAX_ITER = 10, 1e-6, 500


def fit_cp(  # noqa: PLR0913 - the knobs of a fit, each with a default
    tensor: Tensor | SnapshotSource,
    rank: int,
    *,
    restarts: int = RESTARTS,
    nonnegative: bool = False,
    mask: Bool[Tensor, "..."] | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    tol: float = TOL,
    max_iter: int = MAX_ITER,
) -> CPFit:
    """Fit a CP model of one rank: the best of several random starts.

    All restarts are swept together on a compressed tensor (sequentially truncated HOSVD, widened until that no longer
    changes the error by a thousandth); the best one is finished, and its error measured, on the tensor itself.

    Time: about 2 (d + 3 r) |X| operations for two passes over a tensor of |X| entries, d its smallest mode and r the
    core's axis (rank + 2 and up), then sweeps whose cost does not depend on |X| (restarts * rank * |core|), then two
    passes per final sweep, 4 rank |X| operations. Memory: the tensor, or 256 MB chunks of it where it does not fit on the
    device or comes as a `SnapshotSource`; beside it the projection on the first basis, |X| * r / d numbers.

    Args:
        tensor: Three axes or more, (snapshot, stimulus, unit) for activations; float32 or float64.
        rank: Number of components, at most the product of all mode sizes but the largest.
        restarts: Random starts.
        nonnegative: Whether all factors must be non-negative (HALS instead of least squares); the data must be, too.
        mask: True where an entry is observed; the others may hold anything, NaN included. Slower: see `fit_with_missing`.
        seed: Seed of the starts. No global random stream is touched.
        device: Where to compute; results are returned there.
        tol: A model has converged when a sweep lowers its relative error by less than this share of it.
        max_iter: Most sweeps at each width of the core.

    Returns:
        The fit with the lowest error, with flags where it needs care.

    Raises:
        ShapeError: The tensor has fewer than three axes, an empty axis, an entry that is not finite, or only zeros.
        ConfigError: Another argument cannot be honoured; the message names it.
    """
    if not _is_whole(rank) or rank < 1:
        raise ConfigError(f"rank: expected a whole number from 1 on, got {rank!r}.")
    request = checked_request((rank,), restarts, nonnegative, seed, tol, max_iter)
    return _fitted(tensor, mask, device, request, None)[1].fits[rank]


def select_rank(  # noqa: PLR0913 - the knobs of a fit, each with a default
    tensor: Tensor | SnapshotSource,
    ranks: Sequence[int],
    *,
    restarts: int = RESTARTS,
    nonnegative: bool = False,
    mask: Bool[Tensor, "..."] | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    tol: float = TOL,
    max_iter: int = MAX_ITER,
    heldout: bool = True,
    on_progress: Progress | None = None,
) -> RankSelection:
    """Fit every rank with every restart in one batch, and put the evidence for each rank side by side.

    Models do not influence one another, but share the compression: the widest any rank needs. A rank fitted alone can
    therefore end with an error that differs by what the compression may cost, a thousandth of it.

    Args:
        tensor: As for `fit_cp`.
        ranks: Ranks to fit, in any order.
        restarts: Random starts of each rank; similarity needs two or more.
        nonnegative: As for `fit_cp`.
        mask: As for `fit_cp`; held-out errors are left out with it.
        seed: Seed of the starts and of what is held out.
        device: As for `fit_cp`.
        tol: As for `fit_cp`.
        max_iter: As for `fit_cp`.
        heldout: Whether to measure errors on held-out fibres and blocks of snapshots.
        on_progress: Called now and then with (done, in all): models, or ranks where there is a mask.

    Returns:
        The table, the best fit of each rank, and a recommended rank with reasons.

    Raises:
        ShapeError: As for `fit_cp`.
        ConfigError: As for `fit_cp`.
    """
    request = checked_request(ranks, restarts, nonnegative, seed, tol, max_iter)
    data, fitted = _fitted(tensor, mask, device, request, on_progress)
    ensemble, fits = fitted.ensemble, fitted.fits
    errors = None
    if heldout and data is not None and min(data.shape[:2]) >= SMALLEST_CUT and data.shape[-1] >= SMALLEST_CUT:
        errors = heldout_errors(data, fits, nonnegative=nonnegative, seed=seed, max_iter=max_iter)
    similar = similarities(ensemble.models, ensemble.best)
    means = errors.mean if errors is not None else {}
    table = tuple(table_row(fits[rank], ensemble, similar.get(rank), means.get(rank)) for rank in request.ranks)
    recommended, reasons = recommend(table, fits, errors)
    return RankSelection(table, fits, recommended, reasons)


SMALLEST_CUT = 6
"""Least size of the modes that held-out errors cut into: smaller ones leave nothing to fit."""


def table_row(fit: CPFit, ensemble: Ensemble, similarity: float | None, heldout_error: float | None) -> Row:
    """One line of `RankSelection.table`."""
    return {
        "rank": fit.rank,
        "relative_error": fit.relative_error,
        "similarity": similarity,
        "core_consistency": core_consistency(fit, ensemble.compressed),
        "heldout_error": heldout_error,
    }


def _fitted(
    tensor: Tensor | SnapshotSource,
    mask: Tensor | None,
    device: str | torch.device,
    request: Request,
    on_progress: Progress | None,
) -> tuple[Data | None, Fitted]:
    if mask is not None:
        check_rank(max(request.ranks), tuple(tensor.shape))
        return None, fit_with_missing(tensor, mask, request, device=device, on_progress=on_progress)
    data = Data(tensor, device=device, nonnegative=request.nonnegative)
    check_rank(max(request.ranks), data.shape)
    return data, fit_data(data, request, on_progress=on_progress)


def check_rank(rank: int, shape: tuple[int, ...]) -> None:
    """Refuse a rank no tensor of this shape needs.

    Raises:
        ConfigError: It is above the product of all mode sizes but the largest, with which every tensor is exact.
    """
    most = most_components(shape)
    if rank > most:
        raise ConfigError(f"rank: {rank} is more than a tensor of shape {shape} can carry; at most {most} are ever needed.")


def checked_request(ranks: Iterable[int], restarts: int, nonnegative: bool, seed: int, tol: float, max_iter: int) -> Request:
    """A request whose arguments can be honoured.

    Raises:
        ConfigError: One cannot; the message names it.
    """
    for name, value, least in (("restarts", restarts, 1), ("max_iter", max_iter, 1), ("seed", seed, 0)):
        if not _is_whole(value) or value < least:
            raise ConfigError(f"{name}: expected a whole number from {least} on, got {value!r}.")
    if not isinstance(ranks, Iterable):
        raise ConfigError(f"ranks: expected several whole numbers, such as range(1, 9), got {ranks!r}.")
    wanted = list(ranks)
    if not wanted or not all(_is_whole(rank) and rank >= 1 for rank in wanted):
        raise ConfigError(f"ranks: expected whole numbers from 1 on, got {wanted!r}.")
    if not isinstance(tol, float) or not 0 < tol < 1:
        raise ConfigError(f"tol: expected a number between 0 and 1, got {tol!r}.")
    if not isinstance(nonnegative, bool):
        raise ConfigError(f"nonnegative: expected True or False, got {nonnegative!r}.")
    return Request(tuple(sorted({int(rank) for rank in wanted})), restarts, nonnegative, seed, tol, max_iter)


def _is_whole(value: object) -> bool:
    """Whether a value is a whole number of any kind (NumPy's included), but no truth value."""
    return hasattr(value, "__index__") and not isinstance(value, bool | Tensor)
