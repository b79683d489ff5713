# SPDX-License-Identifier: Apache-2.0
"""Where the analysis computes: a GPU nobody trains on, else the training GPU while it has room, else the CPU.

The rules are tested with made-up numbers; none of this was run beside a training on a GPU yet.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch

from lightning_interp.core.device import check_device, with_index

UNUSED_SHARE = 0.9
"""A GPU with at least this share of its memory free counts as unused."""
ROOM_SHARE = 0.5
"""The training GPU is shared only while this share of its memory is free."""
MEMORY_FRACTION = 0.2
"""Most of a shared GPU's memory the analyzer may take."""

LEAVE_SHARE = 0.1
"""A shared GPU with less of its memory free is left to the training."""


@dataclass(frozen=True)
class GpuMemory:
    """Free and total bytes of one GPU."""

    index: int
    free: int
    total: int


def gpu_memory() -> list[GpuMemory]:
    """Memory of every visible GPU that has any for this process.

    One that does not even let it ask (full to the last byte, or reserved for a single process) is left out.
    """
    found = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        with suppress(RuntimeError):
            found.append(GpuMemory(index, *torch.cuda.mem_get_info(index)))
    return found


def memory_of(device: torch.device) -> GpuMemory:
    """Memory of one GPU now, over all processes that use it."""
    index = device.index or 0
    return GpuMemory(index, *torch.cuda.mem_get_info(index))


def is_shared(device: str, *, training: str) -> bool:
    """Whether the analysis and the training use the same GPU; ``cuda`` is the first one."""
    ours, theirs = torch.device(device), torch.device(training)
    return ours.type == theirs.type == "cuda" and (ours.index or 0) == (theirs.index or 0)


def leaves_gpu(gpu: GpuMemory) -> bool:
    """Whether a shared GPU is so full that the analysis must go."""
    return gpu.free < LEAVE_SHARE * gpu.total


def choose_device(wanted: str, *, training: str, gpus: Sequence[GpuMemory]) -> str:
    """Name of the device to analyze on.

    Raises:
        ConfigError: The named device does not exist here.
    """
    if wanted != "auto":
        check_device(wanted, count=len(gpus))
        return str(with_index(wanted))
    for gpu in gpus:
        if f"cuda:{gpu.index}" != training and gpu.free >= UNUSED_SHARE * gpu.total:
            return f"cuda:{gpu.index}"
    shared = [gpu for gpu in gpus if f"cuda:{gpu.index}" == training and gpu.free >= ROOM_SHARE * gpu.total]
    return training if shared else "cpu"
