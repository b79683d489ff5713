# SPDX-License-Identifier: Apache-2.0
"""All weights in 128 numbers that keep distances: enough for a picture of the way a training took."""

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

import numpy as np
import torch

from lightning_interp.core.records import Observation
from lightning_interp.core.shapes import Float64, Tensor
from lightning_interp.measures.base import Measure, Need
from lightning_interp.measures.label import NO_LABELS, Label, Labels
from lightning_interp.measures.weights import float_weights, unread_weights

ENTRIES = 128
"""Numbers in a sketch."""

PLACES = 131
"""Places that positions are dealt to, folded to `ENTRIES` at the end. A prime: were it 128, each column of a matrix of width
128 or 256 would fall into one entry, and a change of few columns would be kept with a far larger error."""

ROWS = 512
"""Rows of a block, which has `PLACES` columns: half a megabyte of float64, which stays in the processor's cache."""

DRAWN_TOGETHER = 64
"""Blocks whose signs are drawn at a time; another number would mean other signs."""


def sketch(tensors: Iterable[Tensor], *, seed: int = 0) -> Float64[Tensor, " entry"]:
    """Random projection S of all entries of all tensors, laid end to end, to 128 numbers; linear.

    The entry at position i is added with the sign s_i to number (i mod 131) mod 128. For weights x and y, with x_k the
    entries that fall to number k, over the draw of signs

        E <Sx, Sy> = <x, y>,    Var <Sx, Sy> <= 9 sum_k |x_k|^2 |y_k|^2.

    So distances and angles between snapshots are kept. Up to one block (67,072 entries) all signs are independent and the
    variance is sum_k (|x_k|^2 |y_k|^2 + <x_k, y_k>^2 - 2 sum_i x_i^2 y_i^2): a squared distance has a relative standard
    deviation of about sqrt(2 / 128) = 12.5 % where it is spread evenly over the 128 numbers. In longer ones a sign is the
    product of one by the position within the block and one by block and place, so that not each entry needs a random bit of
    its own; positions stay pairwise independent, and the bound above allows 25 % in the worst case (blocks that are
    multiples of each other).

    Cost: one pass over the bytes, and 1 MB of memory. Measured 7 ms for 10 million float32 on one thread, twice `l2_norm`.

    Args:
        tensors: Tensors of any shape and floating dtype, in a fixed order; entries row-major.
        seed: Seed of the signs. No global random stream is touched, and numpy guarantees the bits of this generator, so a
            seed means the same signs everywhere.

    Returns:
        Numbers in the unit of the weights; all 0 for no entries.

    References:
        Signs: Achlioptas 2003, https://doi.org/10.1016/S0022-0000(03)00025-4; places with signs (count sketch): Charikar,
        Chen and Farach-Colton 2002, https://doi.org/10.1007/3-540-45465-9_59
    """
    bits = np.random.PCG64(seed)
    within = _signs(bits, ROWS * PLACES).view(ROWS, PLACES)
    total = torch.zeros(PLACES, dtype=torch.float64)
    for block, signs in zip(_blocks(tensors), _block_signs(bits), strict=False):
        total.addcmul_(block.mul_(within[: len(block)]).sum(dim=0), signs)
    total[: PLACES - ENTRIES] += total[ENTRIES:]
    return total[:ENTRIES].clone()


def _blocks(tensors: Iterable[Tensor]) -> Iterator[Float64[Tensor, "row place"]]:
    """All entries end to end in float64, block by block in the same memory; zeros fill the last row."""
    memory = torch.empty(ROWS * PLACES, dtype=torch.float64)
    filled = 0
    for tensor in tensors:
        flat = tensor.detach().reshape(-1)
        while len(flat):
            count = min(len(memory) - filled, len(flat))
            memory[filled : filled + count].copy_(flat[:count])
            filled, flat = filled + count, flat[count:]
            if filled == len(memory):
                yield memory.view(ROWS, PLACES)
                filled = 0
    if filled:
        rows = -(-filled // PLACES)
        memory[filled : rows * PLACES] = 0
        yield memory[: rows * PLACES].view(rows, PLACES)


def _block_signs(bits: np.random.PCG64) -> Iterator[Float64[Tensor, " place"]]:
    """A sign for each place of every further block, drawn for many blocks at a time: a draw costs more than its bits."""
    while True:
        yield from _signs(bits, DRAWN_TOGETHER * PLACES).view(DRAWN_TOGETHER, PLACES)


def _signs(bits: np.random.PCG64, count: int) -> Float64[Tensor, " sign"]:
    """The next signs of a generator, 1 or -1, one of each bit."""
    words = np.asarray(bits.random_raw(-(-count // 64)), dtype="<u8")  # the same order of bits on every machine
    ones = torch.from_numpy(np.unpackbits(words.view(np.uint8))[:count])
    return ones.double().mul_(2).sub_(1)


class WeightSketch(Measure):
    """Vector ``weight_sketch``: all selected parameters, tied ones once, projected to 128 numbers that keep distances.

    For the trajectory of the weights. Sketches can be compared as long as the selected parameters and their shapes stay as
    they are; after a change they lie elsewhere.
    """

    name: ClassVar[str] = "weight_sketch"
    names: ClassVar[Labels] = NO_LABELS
    vector_names: ClassVar[Labels] = {
        "weight_sketch": Label(
            "sketch of the weights",
            about="all selected parameters, projected to 128 numbers by fixed random signs, so that distances and angles "
            "between snapshots are kept; 7 ms for 10 million parameters on one thread",
        )
    }
    needs: ClassVar[frozenset[Need]] = frozenset({"weights"})

    def __call__(self, observation: Observation) -> Mapping[str, Tensor]:
        """Compute the projection; see `sketch`."""
        found = sketch(unread_weights(observation).values())
        if not found.isfinite().all():
            float_weights(observation)  # raises with the name of the weight; one that is not finite leaves no finite sum
        return {self.name: found}
