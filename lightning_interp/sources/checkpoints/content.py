# SPDX-License-Identifier: Apache-2.0
"""What the tensors of one checkpoint come to: a digest, a sample, a mark of each, and numbers that are none."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lightning_interp.core.finite import all_finite
from lightning_interp.store.tensor_file import checksum

SAMPLED = 16_384
"""Most numbers of a checkpoint that stand for where it lies in weight space."""
SMALLEST_MARKED = 64
"""Elements from which on a tensor is not equal to another by chance."""
_MARKED_BY = 64


@dataclass(frozen=True)
class Content:
    """What the tensors of one checkpoint come to.

    Attributes:
        digest: Equal for equal names, shapes, dtypes and bytes.
        sample: Some of its numbers, the same ones in every checkpoint, [number]; float32.
        not_finite: Names of tensors with NaN or infinity.
        marks: A mark of each tensor that training changes, equal for equal bytes; not of small or constant ones.
    """

    digest: str
    sample: Tensor
    not_finite: tuple[str, ...]
    marks: Mapping[str, str] = field(default_factory=dict)


def content_of(tensors: Mapping[str, Tensor]) -> Content:
    """Digest, sample, marks and finiteness of a checkpoint's tensors, in two passes over each."""
    checks, samples, odd, marks = [], [], [], {}
    floating = sum(tensor.numel() for tensor in tensors.values() if _has_numbers(tensor))
    stride = max(1, math.ceil(floating / SAMPLED))
    for name in sorted(tensors):
        tensor = tensors[name]
        check = checksum(tensor)
        checks.append([name, str(tensor.dtype), list(tensor.shape), check])
        if not _has_numbers(tensor):
            continue
        numbers = _real(tensor)
        samples.append(numbers[::stride].float())
        if not all_finite(numbers):
            odd.append(name)
        elif tensor.numel() >= SMALLEST_MARKED:
            some = numbers[:: max(1, numbers.numel() // _MARKED_BY)].float()
            if bool((some != some[0]).any()):
                marks[name] = f"{check:08x}{hashlib.blake2b(some.numpy().tobytes(), digest_size=4).hexdigest()}"
    digest = hashlib.blake2b(json.dumps(checks).encode(), digest_size=16).hexdigest()
    return Content(digest, torch.cat(samples) if samples else torch.empty(0), tuple(odd), marks)


def _has_numbers(tensor: Tensor) -> bool:
    return (tensor.is_floating_point() or tensor.is_complex()) and tensor.numel() > 0


def _real(tensor: Tensor) -> Tensor:
    """The numbers of a tensor in a row, of complex ones both parts, of those of 8 bits as float32."""
    flat = tensor.detach().reshape(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat.resolve_conj().to(torch.promote_types(flat.dtype, torch.complex64))).reshape(-1)
    return flat.float() if flat.dtype.itemsize == 1 else flat
