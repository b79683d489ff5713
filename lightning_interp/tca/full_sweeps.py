# SPDX-License-Identifier: Apache-2.0
"""The last sweeps and the reported error: on the uncompressed tensor, several models in each pass over it."""

from dataclasses import dataclass

import torch

from lightning_interp.core.shapes import Float64, Tensor
from lightning_interp.tca.cp import khatri_rao
from lightning_interp.tca.models import Models
from lightning_interp.tca.source import Data
from lightning_interp.tca.sweeps import gram, normalized_, product
from lightning_interp.tca.updates import Update, hals, least_squares

SETTLED = 5e-4
"""Share by which a sweep on the uncompressed tensor must change an error for another to follow: half of what the compression
may cost."""

CLOSED_FORM_DOWN_TO = {torch.float32: 1e-2, torch.float64: 1e-6}
"""Relative error under which ‖X‖² − 2⟨X, X̂⟩ + ‖X̂‖² loses the digits that matter, by precision; the residual itself is
summed then. In float32, rounding of the inner product, about 1e-8 of ‖X‖², is 1e-4 of the square of this error."""


@dataclass(frozen=True)
class Finished:
    """Models after sweeps on the uncompressed tensor.

    Attributes:
        models: Factors of full size, in the tensor's precision.
        errors: Relative errors, sums in float64.
        sweeps: Sweeps done.
    """

    models: Models
    errors: Float64[Tensor, " model"]
    sweeps: int


def finish(
    data: Data,
    models: Models,
    before: Float64[Tensor, " model"],
    *,
    nonnegative: bool,
    sweeps: int,
    settled: float = SETTLED,
) -> Finished:
    """Plain alternating updates on the uncompressed tensor.

    Two passes over the data a sweep, for all models together: 4 |X| floating-point operations per component. Beside the
    data a pass holds (chunk + product of the inner modes) x components numbers. The first mode's rows do not depend on
    one another, so each chunk of snapshots is solved as soon as it is read, and the inner modes' products are summed on
    the way.

    Args:
        data: The tensor.
        models: Factors of full size.
        before: Their relative errors as far as they are known, e.g. from the compressed tensor.
        nonnegative: HALS instead of least squares.
        sweeps: Most sweeps.
        settled: A model is left as it is once a sweep changes its error by no more than this share of itself.

    Returns:
        The models and their errors; the error of no model rises from one sweep to the next, but for rounding.
    """
    update = hals if nonnegative else least_squares
    factors = tuple(factor.to(device=data.device, dtype=data.dtype) for factor in models.factors)
    models, errors, done = Models(factors, models.ranks, models.numbers), before.clone(), 0
    going = torch.arange(len(models), device=errors.device)
    while done < sweeps and len(going):
        swept, lower = _swept(data, models.select(going), update)
        models, last = models.replaced(going, swept), errors[going]
        errors[going] = lower
        going = going[(last - lower).abs() > settled * last]  # a rise: what was known of it did not survive rounding
        done += 1
    if done == 0 or bool((errors < CLOSED_FORM_DOWN_TO[data.dtype]).any()):
        errors = residual_errors(data, models)
    return Finished(models, errors, done)


def residual_errors(data: Data, models: Models) -> Float64[Tensor, " model"]:
    """Relative errors from the residuals themselves: one pass, 2 |X| operations per component, one snapshot at a time."""
    squares = torch.zeros(len(models), dtype=torch.float64, device=data.device)
    columns = [khatri_rao([factor[m].mT for factor in models.factors[1:]]) for m in range(len(models))]
    for start, chunk in data.chunks():
        rows = chunk.reshape(chunk.shape[0], -1)
        for m, inner in enumerate(columns):
            for index in range(chunk.shape[0]):
                loading = models.factors[0][m, :, start + index]
                residual = torch.addmv(rows[index].double(), inner.double(), loading.double(), alpha=-1)
                squares[m] += torch.dot(residual, residual)
    return (squares / data.norm2).sqrt()


def _swept(data: Data, models: Models, update: Update) -> tuple[Models, Float64[Tensor, " model"]]:
    """Models after one sweep, and their relative errors."""
    work = _FullSweep(data, models, update)
    errors = work.sweep()
    return work.models, errors


class _FullSweep:
    """State of one sweep: padded factors [model, component, size] as everywhere, flat columns for the passes."""

    def __init__(self, data: Data, models: Models, update: Update) -> None:
        self._data, self._update = data, update
        self._mask = models.mask()
        self._ranks, self._numbers = models.ranks, models.numbers
        self._factors = list(models.factors)
        self._grams = [gram(factor) for factor in self._factors]

    @property
    def models(self) -> Models:
        """The models as they are now."""
        return Models(tuple(self._factors), self._ranks, self._numbers)

    def sweep(self) -> Float64[Tensor, " model"]:
        """One sweep over all modes; returns relative errors."""
        inner = self._update_first()
        for mode in range(1, len(self._factors) - 1):
            self._update_inner(mode, inner)
        return self._update_last()

    def _update_first(self) -> Tensor:
        """Solve the first mode chunk by chunk; returns X contracted with the first and last modes, [inner sizes, column]."""
        others = product(self._grams[1:])
        last, middle = self._columns(-1), khatri_rao([self._columns(n) for n in range(1, len(self._factors) - 1)])
        solved, inner = [], torch.zeros_like(middle)
        for start, chunk in self._data.chunks(2 * middle.numel() * chunk_itemsize(self._data)):
            with_last = (chunk.reshape(-1, chunk.shape[-1]) @ last).reshape(chunk.shape[0], *middle.shape)
            mttkrp = torch.einsum("imc,mc->ic", with_last, middle)
            old = self._factors[0][:, :, start : start + chunk.shape[0]]
            rows = self._update(old, self._padded(mttkrp), others)
            solved.append(rows)
            inner += torch.einsum("imc,ic->mc", with_last, self._flat(rows))
        norms = self._set(0, torch.cat(solved, dim=2))
        return inner / self._flat(norms)[0]

    def _update_inner(self, mode: int, inner: Tensor) -> None:
        """Update one of the modes between first and last from what the first pass summed."""
        sizes = [factor.shape[2] for factor in self._factors[1:-1]]
        partial = inner.reshape(*sizes, -1)
        for axis in reversed(range(len(sizes))):
            if axis != mode - 1:
                shape = [1] * len(sizes) + [partial.shape[-1]]
                shape[axis] = sizes[axis]
                partial = (partial * self._columns(axis + 1).reshape(shape)).sum(dim=axis, keepdim=True)
        others = product([known for n, known in enumerate(self._grams) if n != mode])
        mttkrp = self._padded(partial.reshape(sizes[mode - 1], -1))
        self._set(mode, self._update(self._factors[mode], mttkrp, others))

    def _update_last(self) -> Float64[Tensor, " model"]:
        """Second pass: the last mode, which carries the weights, and the error that follows from its products."""
        first, middle = self._columns(0), khatri_rao([self._columns(n) for n in range(1, len(self._factors) - 1)])
        total = torch.zeros(self._factors[-1].shape[2], first.shape[1], dtype=torch.float64, device=self._data.device)
        for start, chunk in self._data.chunks(chunk_itemsize(self._data) * self._data.shape[-1] * first.shape[1]):
            unfolded = chunk.reshape(chunk.shape[0], -1, chunk.shape[-1])
            with_middle = torch.matmul(unfolded.mT, middle)
            total += torch.einsum("ikc,ic->kc", with_middle, first[start : start + chunk.shape[0]]).double()
        others = product(self._grams[:-1])
        mttkrp = self._padded(total.to(self._data.dtype))
        factor = self._factors[-1] = self._update(self._factors[-1], mttkrp, others)
        self._grams[-1] = gram(factor)
        exact = [gram(factor.double()) for factor in self._factors]
        inner = (self._padded(total) * factor.double()).sum(dim=(1, 2))
        energy = product(exact).sum(dim=(1, 2))
        return ((self._data.norm2 - 2 * inner + energy).clamp_min(0) / self._data.norm2).sqrt()

    def _set(self, mode: int, factor: Tensor) -> Tensor:
        """Store a mode's factor with unit columns; returns the norms, 1 where a column is zero."""
        norms = factor.square().sum(dim=2, keepdim=True).sqrt()
        self._factors[mode] = normalized_(factor)
        self._grams[mode] = gram(self._factors[mode])
        return torch.where(norms > 0, norms, 1)

    def _columns(self, mode: int) -> Tensor:
        return self._flat(self._factors[mode])

    def _flat(self, padded: Tensor) -> Tensor:
        """[model, component, size] to [size, column], padding left out."""
        return padded[self._mask].T

    def _padded(self, flat: Tensor) -> Tensor:
        """[size, column] to [model, component, size] with zeros for the padding."""
        padded = flat.new_zeros(*self._mask.shape, flat.shape[0])
        padded[self._mask] = flat.T
        return padded


def chunk_itemsize(data: Data) -> int:
    """Bytes of one entry."""
    return data.dtype.itemsize
