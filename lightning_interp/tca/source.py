# SPDX-License-Identifier: Apache-2.0
"""The data of a decomposition: a tensor, or snapshots read a few at a time; checked once, then passed over in chunks."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from lightning_interp.core.device import check_device, with_index
from lightning_interp.core.errors import ConfigError, ShapeError
from lightning_interp.core.shapes import Float64, Tensor

CHUNK_BYTES = 256 * 2**20
"""Most bytes of data on the device at a time where the data as a whole does not fit."""

RESIDENT_SHARE = 0.5
"""Data up to this share of a GPU's free memory is put there as a whole."""


@runtime_checkable
class SnapshotSource(Protocol):
    """Data too large for memory, read by ranges of snapshots (axis 0); every pass reads all of them once, in order."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of all axes, snapshots first."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the entries: float32 or float64."""
        ...

    def read(self, start: int, stop: int) -> Tensor:
        """Snapshots start .. stop - 1, of shape [stop - start, *shape[1:]]."""
        ...


@dataclass(frozen=True)
class _TensorSource:
    tensor: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> torch.dtype:
        return self.tensor.dtype

    def read(self, start: int, stop: int) -> Tensor:
        return self.tensor[start:stop]


class Data:
    """Checked data on its way to a device.

    Memory on the device: the whole tensor where it fits in half of what is free, else `CHUNK_BYTES` (at least one snapshot).

    Args:
        source: A tensor of three axes or more, (snapshot, stimulus, unit) for activations, or a `SnapshotSource`.
        device: Where the passes compute.
        nonnegative: Refuse negative entries.

    Raises:
        ShapeError: Fewer than three axes, an empty axis, an entry that is not finite, or nothing but zeros.
        ConfigError: The device is not there, or entries are negative where they must not be.
    """

    def __init__(self, source: "Tensor | SnapshotSource", *, device: str | torch.device, nonnegative: bool = False) -> None:
        self.device = float64_device(device)
        self._source = _as_source(source)
        self.shape = self._source.shape
        self.dtype = self._source.dtype
        _check_axes(self.shape)
        if self._source.dtype not in (torch.float32, torch.float64):
            raise ShapeError(f"tensor: expected float32 or float64, got {self.dtype}. Convert it with `.float()` first.")
        self._resident = self._place()
        self.norm2 = self._check_values(nonnegative)

    @property
    def resident(self) -> Tensor | None:
        """The whole tensor where it is on the device, else None."""
        return self._resident

    def chunks(self, extra_bytes_per_snapshot: int = 0) -> Iterator[tuple[int, Tensor]]:
        """Ranges of snapshots on the device, in order: (index of the first, tensor).

        Args:
            extra_bytes_per_snapshot: What the pass itself needs beside the data; counts towards the chunk's size.
        """
        per_snapshot = math.prod(self.shape[1:]) * self.dtype.itemsize
        step = max(1, int(CHUNK_BYTES // max(per_snapshot, extra_bytes_per_snapshot, 1)))
        for start in range(0, self.shape[0], step):
            stop = min(start + step, self.shape[0])
            yield start, self._read(start, stop) if self._resident is None else self._resident[start:stop]

    def _read(self, start: int, stop: int) -> Tensor:
        chunk = self._source.read(start, stop)
        expected = (stop - start, *self.shape[1:])
        if tuple(chunk.shape) != expected or chunk.dtype != self.dtype:
            raise ShapeError(
                f"tensor: read({start}, {stop}) of its source gave {chunk.dtype} of shape {tuple(chunk.shape)}, expected "
                f"{self.dtype} of shape {expected}."
            )
        return chunk.to(self.device)

    def _place(self) -> Tensor | None:
        if not isinstance(self._source, _TensorSource):
            return None
        tensor = self._source.tensor.detach()
        if tensor.device == self.device or self.device.type == "cpu":
            return tensor.to(self.device).contiguous()
        free, _ = torch.cuda.mem_get_info(self.device)
        fits = tensor.numel() * tensor.element_size() <= RESIDENT_SHARE * free
        return tensor.to(self.device).contiguous() if fits else None

    def _check_values(self, nonnegative: bool) -> float:
        """Sum of squares in float64; refuses what no model can be fitted to."""
        total, lowest = 0.0, math.inf
        for start, chunk in self.chunks():
            squares = squared_norm(chunk)
            if not math.isfinite(squares):
                raise ShapeError(f"tensor: entry {_first_bad(chunk, start)} is not finite or too large to square. {_ADVICE}")
            total += squares
            lowest = min(lowest, float(chunk.amin())) if nonnegative else lowest
        if total == 0:
            self._refuse_silence()
        if nonnegative and lowest < 0:
            raise ConfigError(
                f"nonnegative: the tensor has negative entries (lowest {lowest:.3g}); pass nonnegative=False, or clamp what "
                "should not be there."
            )
        return total

    def _refuse_silence(self) -> None:
        if any(bool(chunk.any()) for _, chunk in self.chunks()):
            raise ShapeError(f"tensor: its entries are too small to square in {self.dtype}; multiply it, or use float64.")
        raise ShapeError("tensor: all entries are zero, so there is nothing to decompose. Is the layer dead?")


_ADVICE = "Pass mask= (False where a value is missing), or leave the snapshot out."


BLOCK = 4096
"""Numbers whose squares are summed in their own precision before float64 takes over."""


def squared_norm(tensor: Tensor) -> float:
    """Sum of squares: short blocks in the tensor's own precision, their sum in float64; exact to about 1e-8 for float32."""
    flat = tensor.reshape(-1)
    whole = len(flat) // BLOCK * BLOCK
    rows = flat[:whole].reshape(-1, 1, BLOCK)
    return float(torch.bmm(rows, rows.mT).double().sum() + flat[whole:].square().double().sum())


def as_double_gram(matrix: Tensor, *, exact: bool) -> Float64[Tensor, "row row"]:
    """Gram matrix of the rows in float64: of float64 entries where `exact`, else of blocks in the matrix's own precision."""
    gram = torch.zeros(matrix.shape[0], matrix.shape[0], dtype=torch.float64, device=matrix.device)
    for block in torch.split(matrix, 16384, dim=1):
        wide = block.double() if exact else block
        gram += wide @ wide.T
    return gram


def float64_device(device: str | torch.device) -> torch.device:
    """A device that is here and computes in float64, a GPU with its number.

    Raises:
        ConfigError: It is not.
    """
    check_device(device, auto=False)
    found = with_index(device)
    if found.type not in ("cpu", "cuda"):
        raise ConfigError(f"device: {device!r} is not supported (float64 is needed); use 'cpu' or 'cuda:0'.")
    return found


def _as_source(source: "Tensor | SnapshotSource") -> SnapshotSource:
    if isinstance(source, Tensor):
        return _TensorSource(source)
    if isinstance(source, SnapshotSource):
        return source
    raise ShapeError(
        f"tensor: expected a torch tensor (snapshot, stimulus, unit) or a SnapshotSource, got a {type(source).__name__}. "
        "Convert an array with torch.as_tensor."
    )


def _check_axes(shape: tuple[int, ...]) -> None:
    if len(shape) < 3:
        raise ShapeError(
            f"tensor: expected 3 or more axes (snapshot, stimulus, unit), got shape {shape}. "
            "Load one with `open_run(path).activations(layer)`."
        )
    if 0 in shape:
        raise ShapeError(f"tensor: axis {shape.index(0)} is empty, shape {shape}. Every axis needs one entry or more.")


def _first_bad(chunk: Tensor, start: int) -> str:
    """Index and value of the first entry that is not finite or whose square is not."""
    bad = ~torch.isfinite(chunk)
    if not bool(bad.any()):
        bad = chunk.abs() == chunk.abs().amax()
    place = torch.nonzero(bad)[0].tolist()
    return f"{(start + place[0], *place[1:])} = {float(chunk[tuple(place)])} (one of {int(bad.sum())})"
