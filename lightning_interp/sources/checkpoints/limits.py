# SPDX-License-Identifier: Apache-2.0
"""What one file of a checkpoint may cost at most, whoever made it."""

import math
from collections.abc import Collection, Iterable

MOST_TENSORS = 50_000
"""Tensors in one file. The largest checkpoints have as many in all, spread over many files."""
LARGEST_HEADER = 32 * 2**20
"""Bytes of a safetensors header: 50,000 names and shapes take about 6 MB."""
MAX_EXPANDED = 2**26
"""Most elements of a tensor that repeats the elements of its storage (`expand`): a copy of it takes that memory."""
MOST_REPEATED = 4
"""Views of a storage may come to this many times its bytes together, beside one tensor of `MAX_EXPANDED`."""
_WIDEST = 8  # bytes an element of an expanded tensor has at most, complex numbers of 128 bits aside

View = tuple[str, int, tuple[int, ...], tuple[int, ...], int]
"""Key of a storage, offset, sizes, strides and bytes of an element."""


def complaint_about(tensors: Collection[str], views: Iterable[View], stored: int) -> str | None:
    """Why a file would cost more than a checkpoint can, None if it would not.

    Args:
        tensors: Names.
        views: Where each lies. Equal ones without gaps are tied tensors, which are held once; others are copied to be read.
        stored: Bytes of all storages.

    >>> complaint_about(["w"] * 2, [("0", 0, (2,), (1,), 4)] * 2, 8) is None
    True
    """
    if len(tensors) > MOST_TENSORS:
        return f"{len(tensors):,} tensors are in it, more than the {MOST_TENSORS:,} that are read of one file"
    views = list(views)
    dense = {view for view in views if _is_dense(view)}
    whole = sum(math.prod(size) * element for _, _, size, _, element in (*dense, *(v for v in views if v not in dense)))
    if whole > MOST_REPEATED * stored + _WIDEST * MAX_EXPANDED:
        return f"its tensors repeat {stored:,} stored bytes to be {whole:,}"
    return None


def _is_dense(view: View) -> bool:
    expected = 1
    for length, step in zip(reversed(view[2]), reversed(view[3]), strict=True):
        if length != 1 and step != expected:
            return False
        expected *= length
    return True
