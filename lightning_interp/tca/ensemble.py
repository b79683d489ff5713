# SPDX-License-Identifier: Apache-2.0
"""Every rank and restart swept together, in cores that widen until that changes nothing: the tensor itself is not needed."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from lightning_interp.core.shapes import Bool, Float64, Int, Tensor
from lightning_interp.tca.compress import Compressed
from lightning_interp.tca.full_sweeps import Finished
from lightning_interp.tca.models import Models, joined, random_models
from lightning_interp.tca.sweeps import Swept, sweep_until_converged

BULK_TOL = 3e-5
"""Tolerance for all restarts; the best of each rank go on to `LEVEL_TOL` in each core, at last to the one asked for."""

BULK_SWEEPS = 100
"""Most sweeps of a restart before the best of each rank are known; extrapolated ones, worth two to three plain ones."""

LEVEL_TOL = 1e-5

SPARE_DIRECTIONS, SMALLEST_CORE = 2, 8
"""Directions kept beyond the largest rank in the first core, and the least number of them."""

WIDEN, OUTER = 1.5, 3.5
"""Growth of the core's axes at each step, and how much wider than the first core the first compression is."""

COMPRESSION_CHANGE = 1e-3
"""Relative change of the error on the full tensor, on widening, below which the compression is wide enough."""

CONTENDERS = 3
"""Models of each rank that go on when the core is widened."""


@dataclass(frozen=True)
class Request:
    """What to fit.

    Attributes:
        ranks: Ranks, ascending.
        restarts: Random starts of each rank.
        nonnegative: Whether factors may not be negative.
        seed: Seed of the starts.
        tol: Relative decrease of the error per sweep at which a model has converged.
        max_iter: Most sweeps on the compressed tensor.
    """

    ranks: tuple[int, ...]
    restarts: int
    nonnegative: bool
    seed: int
    tol: float
    max_iter: int


@dataclass(frozen=True)
class Problem:
    """What the sweeps need to know of a tensor: they never see the tensor itself.

    Attributes:
        shape: Sizes of its axes.
        dtype: Its precision.
        device: Where it is.
        compression: Gives a compression to cores of at least the sizes asked for, as far as there is more.
        finish: Sweeps models of full size, of known errors, on the tensor itself; None where it is not at hand.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    compression: Callable[[tuple[int, ...]], Compressed]
    finish: Callable[[Models, Float64[Tensor, " model"]], Finished] | None = None


@dataclass(frozen=True)
class Ensemble:
    """Every restart of every rank on the compressed tensor.

    Attributes:
        compressed: The compression all models were last swept on.
        models: All models; in core coordinates unless non-negative.
        errors: Their relative errors, as the compression tells them.
        converged: Whether each stopped by itself.
        n_iter: Sweeps of each.
        best: Row of the best model of each rank, ranks ascending.
    """

    compressed: Compressed
    models: Models
    errors: Float64[Tensor, " model"]
    converged: Bool[Tensor, " model"]
    n_iter: Int[Tensor, " model"]
    best: Int[Tensor, " rank"]


Progress = Callable[[int, int], None]
"""Told now and then how many models are done, and how many there are."""


def sweep_ensemble(
    problem: Problem,
    request: Request,
    *,
    starts: Models | None = None,
    random_too: bool = False,
    on_progress: Progress | None = None,
) -> Ensemble:
    """Sweeps in ever wider cores until widening no longer changes the errors of the best models.

    Args:
        problem: The tensor, seen through its compressions.
        request: What to fit.
        starts: Models to start from, of full size; random ones where None.
        random_too: Add random starts to `starts`.
        on_progress: Told (models done, models in all) during the first and longest round of sweeps.
    """
    cores, judge = _Cores(problem, request), _Judge(problem, request)
    core = cores.first
    models = _all_starts(problem, core, request, starts, random_too=random_too)
    bulk_tol, level_tol = max(request.tol, BULK_TOL), max(request.tol, LEVEL_TOL)
    bulk = replace(request, max_iter=min(request.max_iter, BULK_SWEEPS))
    swept = _sweep(core, models, bulk, tol=bulk_tol, on_progress=on_progress)
    swept = _best_swept(core, swept, request, tol=level_tol)
    settled = False
    while not settled and (wide := cores.wider(core)) is not None:
        before = swept
        swept = _best_swept(wide, _resized(swept, wide, request), request, tol=level_tol)
        settled = _settled(lowest(before), lowest(swept))
        if not settled:
            swept = _swept_further(wide, swept, contenders(swept), request, tol=bulk_tol)
            swept = _best_swept(wide, swept, request, tol=level_tol)
            settled = judge.settled(core, before, wide, swept)
        core = wide
    swept = _best_swept(core, swept, request, tol=request.tol)
    best = best_of(swept.models.ranks, swept.errors)
    return Ensemble(core, swept.models, swept.errors, swept.converged, swept.n_iter, best)


class _Cores:
    """Ever wider cores of one tensor, cut from a compression that is made anew only where it is too narrow."""

    def __init__(self, problem: Problem, request: Request) -> None:
        self._problem = problem
        sizes = first_sizes(problem.shape, request.ranks)
        self._outer = problem.compression(_scaled(sizes, problem.shape, OUTER))
        self.first = self._outer.leading(sizes)

    def wider(self, core: Compressed) -> Compressed | None:
        """The next core after one, None where there is nothing more to see."""
        sizes = _scaled(core.ranks, self._problem.shape, WIDEN)
        if any(want > have for want, have in zip(sizes, self._outer.ranks, strict=True)):
            self._outer = self._problem.compression(_scaled(sizes, self._problem.shape, WIDEN * WIDEN))
            sizes = tuple(min(want, have) for want, have in zip(sizes, self._outer.ranks, strict=True))
        return None if sizes == core.ranks else self._outer.leading(sizes)


class _Judge:
    """Says by the tensor itself whether a wider core still pays; non-negative models leave the subspace of any core.

    Asked about the best model of the largest rank only, which needs the widest core.
    """

    def __init__(self, problem: Problem, request: Request) -> None:
        self._problem, self._request = problem, request
        self._last: Tensor | None = None

    def settled(self, core: Compressed, before: Swept, wide: Compressed, after: Swept) -> bool:
        """Whether going from one core to the next changed the error by too little to go on; no without the tensor."""
        if self._problem.finish is None:
            return False
        last = self._error(core, before) if self._last is None else self._last
        self._last = self._error(wide, after)
        return _settled(last, self._last)

    def _error(self, core: Compressed, swept: Swept) -> Tensor:
        assert self._problem.finish is not None
        row = best_of(swept.models.ranks, swept.errors)[-1:]
        models = full_size(swept.models.select(row), core, self._request)
        return self._problem.finish(models, swept.errors[row]).errors


def contenders(swept: Swept) -> Int[Tensor, " row"]:
    """The best `CONTENDERS` models of each rank: those that may turn out best in a wider core."""
    rows = []
    for rank in torch.unique(swept.models.ranks):
        of_rank = torch.nonzero(swept.models.ranks == rank)[:, 0]
        rows.append(of_rank[torch.argsort(swept.errors[of_rank], stable=True)[:CONTENDERS]])
    return torch.cat(rows)


def lowest(swept: Swept) -> Float64[Tensor, " rank"]:
    """Lowest error of each rank, ranks ascending."""
    return swept.errors[best_of(swept.models.ranks, swept.errors)]


def _settled(before: Float64[Tensor, " rank"], after: Float64[Tensor, " rank"]) -> bool:
    return bool((before - after <= COMPRESSION_CHANGE * after).all())


def _best_swept(core: Compressed, swept: Swept, request: Request, *, tol: float) -> Swept:
    return _swept_further(core, swept, best_of(swept.models.ranks, swept.errors), request, tol=tol)


def first_sizes(shape: Sequence[int], ranks: Sequence[int]) -> tuple[int, ...]:
    """Axes of the smallest core: some directions more than components, at most the mode's size."""
    return tuple(min(size, max(SMALLEST_CORE, max(ranks) + SPARE_DIRECTIONS)) for size in shape)


def best_of(ranks: Int[Tensor, " model"], errors: Float64[Tensor, " model"]) -> Int[Tensor, " rank"]:
    """Row of the model with the lowest error of each rank, ranks ascending."""
    rows = [torch.nonzero(ranks == rank)[:, 0] for rank in torch.unique(ranks)]
    return torch.stack([of_rank[torch.argmin(errors[of_rank])] for of_rank in rows])


def full_size(models: Models, core: Compressed, request: Request) -> Models:
    """Models with factors of the tensor's own size."""
    if request.nonnegative:
        return models
    factors = tuple(factor @ basis[:, : factor.shape[2]].T for factor, basis in zip(models.factors, core.bases, strict=True))
    return Models(factors, models.ranks, models.numbers)


def _scaled(sizes: Sequence[int], shape: Sequence[int], factor: float) -> tuple[int, ...]:
    return tuple(min(size, math.ceil(now * factor)) for now, size in zip(sizes, shape, strict=True))


def _all_starts(problem: Problem, core: Compressed, request: Request, starts: Models | None, *, random_too: bool) -> Models:
    """Starts in the coordinates the sweeps use."""
    given = [] if starts is None else [_in_core(starts, core, request)]
    if starts is None or random_too:
        sizes = problem.shape if request.nonnegative else core.ranks
        dtype = problem.dtype if request.nonnegative else torch.float64
        drawn = random_models(
            request.ranks, request.restarts, sizes, seed=request.seed, nonnegative=request.nonnegative, dtype=dtype
        )
        given.append(drawn.to(problem.device))
    return joined(given) if len(given) > 1 else given[0]


def _in_core(models: Models, core: Compressed, request: Request) -> Models:
    if request.nonnegative:
        return models
    pairs = zip(models.factors, core.bases, strict=True)
    return Models(tuple(factor.double() @ basis for factor, basis in pairs), models.ranks, models.numbers)


def _resized(swept: Swept, core: Compressed, request: Request) -> Swept:
    return swept if request.nonnegative else replace(swept, models=swept.models.resized(core.ranks))


def _swept_further(core: Compressed, swept: Swept, rows: Int[Tensor, " row"], request: Request, *, tol: float) -> Swept:
    """All models, some of them swept on."""
    further = _sweep(core, swept.models.select(rows), request, tol=tol)
    return Swept(
        swept.models.replaced(rows, further.models),
        swept.errors.index_copy(0, rows, further.errors),
        swept.converged.index_copy(0, rows, further.converged),
        swept.n_iter.index_add(0, rows, further.n_iter),
    )


def _sweep(core: Compressed, models: Models, request: Request, *, tol: float, on_progress: Progress | None = None) -> Swept:
    ended = 0

    def report(count: int) -> None:
        nonlocal ended
        ended += count
        if on_progress is not None:
            on_progress(ended, len(models))

    return sweep_until_converged(
        core, models, nonnegative=request.nonnegative, tol=tol, max_iter=request.max_iter, on_converged=report
    )
