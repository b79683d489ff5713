# SPDX-License-Identifier: Apache-2.0
"""Alternating updates of many models at once on a compressed tensor, extrapolated, until each has converged."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce

import torch

from lightning_interp.core.shapes import Bool, Float, Float64, Int, Tensor
from lightning_interp.tca.compress import Compressed
from lightning_interp.tca.contraction import CoreProducts
from lightning_interp.tca.models import Models
from lightning_interp.tca.threads import WORTH_SHARING, one_thread_unless
from lightning_interp.tca.updates import Update, hals, least_squares

CHECK_EVERY = 10
"""Sweeps between two looks at the errors; nothing waits for the device in between. The last of them is not extrapolated."""

START_STEP, STEP_GROWTH, CAP_GROWTH, STEP_CUT, LARGEST_STEP = 0.5, 1.1, 1.05, 2.0, 1.5
"""How far to extrapolate, as a share of the last change: start, growth of step and of its cap, cut after a bad sweep,
cap."""

EXACT = 1e-7
"""Relative error under which a model counts as exact: what float64 normal equations resolve."""


@dataclass(frozen=True)
class Swept:
    """Models after sweeps on a compressed tensor.

    Attributes:
        models: In the order they came.
        errors: Relative error of each on the uncompressed tensor (as far as the compression tells it).
        converged: Whether it stopped by itself.
        n_iter: Sweeps it took.
    """

    models: Models
    errors: Float64[Tensor, " model"]
    converged: Bool[Tensor, " model"]
    n_iter: Int[Tensor, " model"]


def sweep_until_converged(
    compressed: Compressed,
    models: Models,
    *,
    nonnegative: bool,
    tol: float,
    max_iter: int,
    on_converged: Callable[[int], None] = lambda _: None,
) -> Swept:
    """Update all models until each one's error falls by less than `tol` of itself a sweep; those leave the batch.

    After each mode's update the new factors are extrapolated along their last change; where the error rose, the model
    goes on from the plain update with a shorter step (Ang, Cohen, Gillis & Hien 2020). Each model has its own step
    length, so a batch gives what one model at a time gives. Errors at the checks, every `CHECK_EVERY` sweeps, never rise:
    a model whose error did is put back to the last check.

    Args:
        compressed: The tensor.
        models: Starts; in core coordinates, or of full size where `nonnegative`.
        nonnegative: HALS through the bases instead of least squares in the core.
        tol: Relative decrease of the error per sweep, averaged over `CHECK_EVERY` sweeps, below which a model has converged.
        max_iter: Most sweeps.
        on_converged: Told how many models ended at each check.

    References:
        Ang, Cohen, Gillis & Hien 2020, https://arxiv.org/abs/2001.04321; all models in one batch: Psarras, Karlsson &
        Bientinesi 2020, https://arxiv.org/abs/2010.04678
    """
    state = _State.start(compressed, models, nonnegative=nonnegative)
    result = _Result.empty(models)
    for _ in range(CHECK_EVERY, max_iter + CHECK_EVERY, CHECK_EVERY):
        with one_thread_unless(state.touched >= WORTH_SHARING):
            for index in range(min(CHECK_EVERY, max_iter - state.sweeps)):
                state.sweep(plain=index == CHECK_EVERY - 1 or state.sweeps == max_iter - 1)
        settled = state.check(tol)
        done = settled | (state.sweeps >= max_iter)
        if bool(done.any()):
            result.take(state, done, settled)
            on_converged(int(done.sum()))
            if bool(done.all()):
                break
            state.keep(~done)
    return result.swept()


@dataclass
class _Result:
    models: Models
    errors: Tensor
    converged: Tensor
    n_iter: Tensor

    @classmethod
    def empty(cls, models: Models) -> "_Result":
        device = models.ranks.device
        rows = torch.arange(len(models), device=device)
        models = Models(models.factors, models.ranks, rows)  # rows of the batch, to put results back in place
        zeros = torch.zeros(len(models), device=device)
        return cls(models, zeros.double(), zeros.bool(), zeros.long())

    def take(self, state: "_State", done: Tensor, settled: Tensor) -> None:
        finished = state.kept.select(torch.nonzero(done)[:, 0])
        rows = finished.numbers
        self.models = self.models.replaced(rows, finished)
        self.errors[rows] = state.checked[done]
        self.converged[rows] = settled[done]
        self.n_iter[rows] = state.sweeps

    def swept(self) -> Swept:
        return Swept(self.models, self.errors, self.converged, self.n_iter)


@dataclass
class _State:
    """What the sweeps of one batch carry along; factors are extrapolated, `plain` ones are not."""

    products: CoreProducts
    update: Update
    norm2: float
    factors: list[Tensor]
    plain: list[Tensor]
    ranks: Tensor
    numbers: Tensor
    step: Tensor
    cap: Tensor
    last: Tensor
    checked: Tensor
    kept: Models
    grams: list[Tensor] = field(default_factory=list)
    sweeps: int = 0

    @classmethod
    def start(cls, compressed: Compressed, models: Models, *, nonnegative: bool) -> "_State":
        """Before the first sweep."""
        dtype, device = models.factors[0].dtype, models.factors[0].device
        bases = tuple(basis.to(dtype) for basis in compressed.bases) if nonnegative else None
        infinite = torch.full((len(models),), torch.inf, dtype=torch.float64, device=device)
        state = cls(
            products=CoreProducts(compressed.core.to(dtype), bases),
            update=hals if nonnegative else least_squares,
            norm2=compressed.norm2,
            factors=list(models.factors),
            plain=list(models.factors),
            ranks=models.ranks,
            numbers=torch.arange(len(models), device=device),
            step=torch.full((len(models), 1, 1), START_STEP, dtype=dtype, device=device),
            cap=torch.ones((len(models), 1, 1), dtype=dtype, device=device),
            last=infinite,
            checked=infinite,
            kept=models,
        )
        state.products.leave_out(~models.mask())
        if nonnegative:
            state.match_scale()
        state.grams = [gram(factor) for factor in state.factors]
        return state

    @property
    def touched(self) -> int:
        """Numbers in all factors, what an elementwise operation on them touches."""
        return sum(factor.numel() for factor in self.factors)

    def match_scale(self) -> None:
        """Give each start the norm that fits the data best: HALS moves from where it is, unlike least squares."""
        mttkrp = self._mttkrp_of_last()
        inner = (mttkrp * self.factors[-1]).sum(dim=(1, 2))
        grams = product([gram(factor) for factor in self.factors])
        scale = (inner / grams.sum(dim=(1, 2)).clamp_min(torch.finfo(grams.dtype).tiny)).clamp_min(0)
        self.factors[-1] = self.plain[-1] = self.factors[-1] * scale[:, None, None]

    def sweep(self, *, plain: bool) -> None:
        """One update of every mode; `plain` without extrapolation."""
        step = None if plain or self.sweeps == 0 else self.step
        last_mode = len(self.factors) - 1
        rows = {last_mode: self.products.coordinates(last_mode, self.factors[last_mode])}
        partial = self.products.with_last(rows[last_mode])
        for mode in range(1, last_mode):
            rows[mode] = self.products.coordinates(mode, self.factors[mode])
        for mode in range(last_mode):
            others = {other: rows[other] for other in range(last_mode) if other != mode}
            self._update(mode, self.products.mttkrp(partial, others, mode, len(self.ranks)), step)
            rows[mode] = self.products.coordinates(mode, self.factors[mode])
        others = {other: rows[other] for other in range(1, last_mode)}
        mttkrp = self.products.mttkrp(self.products.with_first(rows[0]), others, last_mode, len(self.ranks))
        self._update_last(mttkrp, step)
        self.sweeps += 1

    def _update(self, mode: int, mttkrp: Tensor, step: Tensor | None) -> None:
        others = product([self.grams[n] for n in range(len(self.grams)) if n != mode])
        new = normalized_(self.update(self.plain[mode], mttkrp, others))
        self.factors[mode] = self._extrapolated(new, self.plain[mode], step)
        self.plain[mode] = new
        self.grams[mode] = gram(self.factors[mode])

    def _update_last(self, mttkrp: Tensor, step: Tensor | None) -> None:
        """Update the mode that carries the weights, judge the sweep, and choose how far to extrapolate next."""
        others = product(self.grams[:-1])
        new = self.update(self.plain[-1], mttkrp, others)
        error = self._error(mttkrp, new, others)
        worse = (error > self.last)[:, None, None]
        self.factors[-1] = self._extrapolated(new, self.plain[-1], step)
        self.plain[-1] = new
        self.grams[-1] = gram(self.factors[-1])
        if worse.is_cuda or bool(worse.any()):  # asking costs nothing on a CPU; a GPU would have to be waited for
            self.factors = [torch.where(worse, back, on) for back, on in zip(self.plain, self.factors, strict=True)]
            self.grams = [gram(factor) for factor in self.factors]
        grown = torch.minimum(self.cap, self.step * STEP_GROWTH)
        self.cap = torch.where(worse, self.step, (self.cap * CAP_GROWTH).clamp_max(LARGEST_STEP))
        self.step = torch.where(worse, self.step / STEP_CUT, grown)
        self.last = error

    def check(self, tol: float) -> Bool[Tensor, " model"]:
        """Which models have converged; keeps the best state of each. The sweep before was plain."""
        better = self.last < self.checked
        decrease = (self.checked - self.last) / self.checked
        settled = ~(decrease > tol * CHECK_EVERY) & torch.isfinite(self.checked)
        rows = better[:, None, None]
        kept = tuple(torch.where(rows, new, old) for new, old in zip(self.plain, self.kept.factors, strict=True))
        self.kept = Models(kept, self.ranks, self.numbers)
        self.checked = torch.where(better, self.last, self.checked)
        if not bool(better.all()):
            self._go_back(rows)
        return settled | (self.checked <= EXACT)

    def _go_back(self, better: Tensor) -> None:
        self.plain = [torch.where(better, new, old) for new, old in zip(self.plain, self.kept.factors, strict=True)]
        self.factors = list(self.plain)
        self.grams = [gram(factor) for factor in self.factors]
        self.step = torch.where(better, self.step, self.step / STEP_CUT)
        self.last = self.checked

    def keep(self, going: Bool[Tensor, " model"]) -> None:
        """Drop the models that are done."""
        rows = torch.nonzero(going)[:, 0]
        self.kept = self.kept.select(rows)
        self.ranks, self.numbers = self.kept.ranks, self.kept.numbers
        self.products.leave_out(~self.kept.mask())
        self.factors = [factor[rows, : self.kept.width] for factor in self.factors]
        self.plain = [factor[rows, : self.kept.width] for factor in self.plain]
        self.grams = [gram[rows, : self.kept.width, : self.kept.width] for gram in self.grams]
        self.step, self.cap = self.step[rows], self.cap[rows]
        self.last, self.checked = self.last[rows], self.checked[rows]

    def _extrapolated(self, new: Tensor, old: Tensor, step: Tensor | None) -> Tensor:
        if step is None:
            return new
        beyond = torch.lerp(old, new, 1 + step)
        return beyond.clamp_min_(0) if self.update is hals else beyond

    def _error(self, mttkrp: Tensor, factor: Tensor, others: Tensor) -> Tensor:
        """Relative error of each model in float64, from ‖X‖² − 2⟨X, X̂⟩ + ‖X̂‖²."""
        inner = (mttkrp.double() * factor.double()).sum(dim=(1, 2))
        energy = (others.double() * gram(factor.double())).sum(dim=(1, 2))
        return ((self.norm2 - 2 * inner + energy).clamp_min(0) / self.norm2).sqrt()

    def _mttkrp_of_last(self) -> Tensor:
        rows = [self.products.coordinates(mode, factor) for mode, factor in enumerate(self.factors[:-1])]
        others = dict(enumerate(rows[1:], start=1))
        return self.products.mttkrp(self.products.with_first(rows[0]), others, len(rows), len(self.ranks))


def product(grams: list[Tensor]) -> Tensor:
    """Hadamard product."""
    return reduce(torch.mul, grams)


def gram(factor: Float[Tensor, "model component size"]) -> Float[Tensor, "model component component"]:
    """Inner products of each model's columns."""
    return factor @ factor.mT


def normalized_(factor: Float[Tensor, "model component size"]) -> Float[Tensor, "model component size"]:
    """The factor with columns of unit norm, in place; columns of zeros stay."""
    norms = factor.square().sum(dim=2, keepdim=True).sqrt_()  # several times faster than vector_norm along a short axis
    return factor.div_(norms.clamp_min_(torch.finfo(factor.dtype).tiny))
