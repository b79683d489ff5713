# SPDX-License-Identifier: Apache-2.0
"""Products of a small core with the factors of many models at once (MTTKRP: matricized tensor times Khatri-Rao product)."""

import torch

from lightning_interp.core.shapes import Bool, Float, Tensor


class CoreProducts:
    """MTTKRPs of a core for a batch of models, mode by mode within a sweep.

    One large matrix product with a factor is shared by all modes whose update does not change that factor: with the last
    mode's while the others are updated, with the first mode's for the last. Memory: models * rank * |core| / (smallest mode)
    numbers at a time.

    Args:
        core: The Tucker core.
        bases: Where given, factors are of full size and go through these bases; else they are in core coordinates.
    """

    def __init__(self, core: Float[Tensor, "..."], bases: tuple[Tensor, ...] | None = None) -> None:
        self._bases = bases
        self._sizes = tuple(core.shape)
        self._by_first = core.reshape(core.shape[0], -1).contiguous()
        self._by_last = core.reshape(-1, core.shape[-1]).T.contiguous()
        self._buffers: dict[str, Tensor] = {}
        self._own: Tensor | None = None
        self._width = 0

    def leave_out(self, padding: Bool[Tensor, "model component"]) -> None:
        """Say which components are padding: nothing is computed for them."""
        self._width = padding.shape[1]
        self._own = torch.nonzero(~padding.flatten())[:, 0] if bool(padding.any()) else None

    def coordinates(self, mode: int, factor: Float[Tensor, "model component size"]) -> Float[Tensor, "row core"]:
        """A mode's factors of all models in core coordinates, one row per component that is not padding."""
        rows = factor.flatten(0, 1) if self._own is None else factor.flatten(0, 1).index_select(0, self._own)
        return rows if self._bases is None else rows @ self._bases[mode]

    def with_last(self, rows: Float[Tensor, "row core"]) -> Float[Tensor, "row ..."]:
        """Core contracted with the last mode's factors, for every component."""
        return self._product("last", rows, self._by_last).reshape(rows.shape[0], *self._sizes[:-1])

    def with_first(self, rows: Float[Tensor, "row core"]) -> Float[Tensor, "row ..."]:
        """Core contracted with the first mode's factors, for every component."""
        return self._product("first", rows, self._by_first).reshape(rows.shape[0], *self._sizes[1:])

    def _product(self, name: str, rows: Tensor, matrix: Tensor) -> Tensor:
        """A product into memory that is used again: on Linux fresh pages for it cost several times the product."""
        held = self._buffers.get(name)
        if held is None or held.shape[0] < rows.shape[0]:
            held = torch.empty(rows.shape[0], matrix.shape[1], dtype=rows.dtype, device=rows.device)
            self._buffers[name] = held
        return torch.mm(rows, matrix, out=held[: rows.shape[0]])

    def mttkrp(
        self, partial: Float[Tensor, "row ..."], others: dict[int, Tensor], mode: int, models: int
    ) -> Float[Tensor, "model component size"]:
        """What is left for one mode after contracting a partial product with the factors of all others.

        Args:
            partial: From `with_last` (modes 0 .. N-2 are left) or `with_first` (modes 1 .. N-1 are left).
            others: Coordinates of the factors of every mode left but `mode`.
            mode: The mode to update.
            models: Number of models.

        Returns:
            In the coordinates of the factors.
        """
        first = min(*others, mode) if others else mode
        last = max(*others, mode) if others else mode
        for later in range(last, mode, -1):
            partial = torch.bmm(partial.reshape(partial.shape[0], -1, self._sizes[later]), others[later][:, :, None])
        for earlier in range(first, mode):
            partial = torch.bmm(others[earlier][:, None, :], partial.reshape(partial.shape[0], self._sizes[earlier], -1))
        rows = partial.reshape(partial.shape[0], self._sizes[mode])
        if self._own is not None:
            rows = rows.new_zeros(models * self._width, rows.shape[1]).index_copy_(0, self._own, rows)
        wide = rows if self._bases is None else rows @ self._bases[mode].T
        return wide.reshape(models, -1, wide.shape[1])
