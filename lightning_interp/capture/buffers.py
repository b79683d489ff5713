# SPDX-License-Identifier: Apache-2.0
"""Memory that snapshots are copied into, used again once the writer is done with it.

Copying into memory that was used before costs a fraction of copying into fresh pages, and the number of sets bounds what
snapshots may take of the training process's memory, however far the writer falls behind.
"""

from collections import deque
from collections.abc import Mapping

import torch
from torch import Tensor

_ALIGNMENT = 16
"""Bytes at whose multiples each tensor begins inside a flat buffer; no dtype needs more."""

Layout = tuple[tuple[str, torch.Size, torch.dtype, torch.device], ...]


class CopySet:
    """Private copies of one snapshot's tensors and logged values, in memory laid out for them once.

    On a GPU the copy is made twice: on the training's own stream into a buffer beside the parameters, before the next
    optimizer step can change them, then on a stream of its own to the host, while the training goes on. Nothing waits for
    the device but `arrived`, which the writer calls.

    Args:
        live: The tensors, tied ones once.
    """

    def __init__(self, live: Mapping[str, Tensor]) -> None:
        self.layout = layout_of(live)
        self.tensors: dict[str, Tensor] = {}
        self._clones: dict[str, Tensor] = {}
        self._scalars: dict[str, Tensor | float] = {}
        self._ways: dict[torch.device, _WayToHost] = {}
        for device in {tensor.device for tensor in live.values()}:
            mine = {name: tensor for name, tensor in live.items() if tensor.device == device}
            if device.type == "cuda":
                way = self._ways[device] = _WayToHost(device, mine)
                self._clones |= way.on_device
                self.tensors |= way.on_host
            else:
                clones = {name: torch.empty_like(t, memory_format=torch.contiguous_format) for name, t in mine.items()}
                self._clones |= clones
                self.tensors |= clones
        self.tensors = {name: self.tensors[name] for name in live}

    def copy(self, live: Mapping[str, Tensor], scalars: Mapping[str, Tensor | float]) -> None:
        """Start the copy; on return the live tensors may change. Reads no value and waits for no device."""
        with torch.no_grad():
            if live:
                torch._foreach_copy_([self._clones[name] for name in live], list(live.values()))
        self.keep(scalars)

    def keep(self, scalars: Mapping[str, Tensor | float]) -> None:
        """Copy other logged values in place of those there are; for a copy whose training goes on to log."""
        with torch.no_grad():
            self._scalars = {name: v.detach().clone() if isinstance(v, Tensor) else v for name, v in scalars.items()}
            for device, way in self._ways.items():
                logged = {n: v for n, v in self._scalars.items() if isinstance(v, Tensor) and v.device == device}
                self._scalars |= way.send(logged)

    def arrived(self) -> Mapping[str, float]:
        """Wait until every value is on the host; returns the logged ones that are single numbers."""
        for way in self._ways.values():
            way.wait()
        numbers = {n: v for n, v in self._scalars.items() if not isinstance(v, Tensor) or v.numel() == 1}
        return {name: float(value) for name, value in numbers.items()}


class _WayToHost:
    """One GPU's part of a copy: a flat buffer on the device, a pinned one on the host, a stream between them."""

    def __init__(self, device: torch.device, live: Mapping[str, Tensor]) -> None:
        size = sum(_aligned(tensor) for tensor in live.values())
        self._device_bytes = torch.empty(size, dtype=torch.uint8, device=device)
        self._host_bytes = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        self.on_device = _views(self._device_bytes, live)
        self.on_host = _views(self._host_bytes, live)
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._cloned, self._landed = torch.cuda.Event(), torch.cuda.Event()  # type: ignore[no-untyped-call]

    def send(self, scalars: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Queue the copy of the device buffer, and of single logged numbers, behind what the training's stream did last.

        Returns:
            Where the numbers will be on the host.
        """
        landing: dict[str, Tensor] = {}
        single = {name: value for name, value in scalars.items() if value.numel() == 1}
        logged = torch.stack([value.double().reshape(()) for value in single.values()]) if single else None
        self._cloned.record(torch.cuda.current_stream(self._device))
        self._stream.wait_event(self._cloned)
        with torch.cuda.stream(self._stream):
            self._host_bytes.copy_(self._device_bytes, non_blocking=True)
            if logged is not None:
                values = torch.empty(len(single), dtype=torch.float64, pin_memory=True).copy_(logged, non_blocking=True)
                logged.record_stream(self._stream)
                landing = dict(zip(single, values.unbind(), strict=True))
            self._landed.record(self._stream)
        return landing

    def wait(self) -> None:
        """Wait for the copy, on the caller's thread alone."""
        self._landed.synchronize()


class SnapshotBuffers:
    """A few sets of copies, handed out and taken back.

    Args:
        sets: Most that are out at a time. Memory: as many times the tensors' bytes, allocated when first needed.
    """

    def __init__(self, sets: int) -> None:
        self._free: deque[CopySet] = deque()
        self._made, self._sets = 0, sets

    def take(self, live: Mapping[str, Tensor]) -> CopySet | None:
        """A set that fits the tensors, None while all are out. On the training thread."""
        if not self._free and self._made >= self._sets:
            return None
        if self._free:
            found = self._free.popleft()
            if found.layout == layout_of(live):
                return found
            self._made -= 1  # the module has other tensors now: its memory is let go
        self._made += 1
        return CopySet(live)

    def clear(self) -> None:
        """Let go of the memory: no more snapshots come."""
        self._sets = 0
        self._free.clear()

    def give_back(self, copies: CopySet) -> None:
        """The writer is done with a set. On any thread."""
        if self._sets:
            self._free.append(copies)


def layout_of(live: Mapping[str, Tensor]) -> Layout:
    """What memory for these tensors must be like."""
    return tuple((name, tensor.shape, tensor.dtype, tensor.device) for name, tensor in live.items())


def _aligned(tensor: Tensor) -> int:
    return -(-tensor.numel() * tensor.element_size() // _ALIGNMENT) * _ALIGNMENT


def _views(flat: Tensor, live: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parts of a flat buffer in the shape of the tensors, row-major, one after the other."""
    views, offset = {}, 0
    for name, tensor in live.items():
        part = flat[offset : offset + tensor.numel() * tensor.element_size()]
        views[name] = part.view(tensor.dtype).view(tensor.shape)
        offset += _aligned(tensor)
    return views
