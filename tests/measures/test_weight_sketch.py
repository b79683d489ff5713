# SPDX-License-Identifier: Apache-2.0
import hashlib
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from lightning_interp.core.errors import MeasureSkipped
from lightning_interp.measures import WeightSketch, sketch
from lightning_interp.measures.weight_sketch import DRAWN_TOGETHER, ENTRIES, PLACES, ROWS

BLOCK = ROWS * PLACES


def weights(*sizes: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=generator, dtype=torch.float64).to(dtype) for size in sizes]


def slow_signs(blocks: int, seed: int = 0) -> np.ndarray:
    """Sign of every position: of the position within its block times of the block and the place."""
    bits = np.random.PCG64(seed)

    def signs(count: int) -> np.ndarray:
        words = bits.random_raw(-(-count // 64)).tolist()
        octets = np.frombuffer(b"".join(word.to_bytes(8, "little") for word in words), dtype=np.uint8)
        return 2.0 * np.unpackbits(octets)[:count] - 1

    within = signs(BLOCK)
    of_blocks = signs(DRAWN_TOGETHER * PLACES).reshape(DRAWN_TOGETHER, PLACES)
    return np.concatenate([within * np.tile(of_blocks[block], ROWS) for block in range(blocks)])


def test_sketch_equals_the_sum_written_out():
    parts = weights(70_000, 3, BLOCK, 1_001)
    whole = torch.cat(parts).numpy()
    signs = slow_signs(3)[: len(whole)]
    places = np.arange(len(whole)) % PLACES % ENTRIES
    expected = np.bincount(places, signs * whole, minlength=ENTRIES)
    # 140,000 float64 of size 1 in another order, 1,100 to a number
    assert sketch(parts).numpy() == pytest.approx(expected, abs=1e-11)


def test_sketch_is_linear():
    x, y = weights(100_000, seed=1), weights(100_000, seed=2)
    together = sketch([3 * x[0] - 0.5 * y[0]])
    # 800 entries of size 3 to a number: rounding of 1e-16 each
    assert torch.allclose(together, 3 * sketch(x) - 0.5 * sketch(y), rtol=0, atol=1e-11)


def test_sketch_does_not_depend_on_how_entries_are_cut_into_tensors():
    (whole,) = weights(BLOCK + 5_000)
    assert torch.equal(sketch([whole]), sketch([whole[:7].view(7, 1), whole[7:BLOCK], whole[BLOCK:].view(50, 100)]))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_sketch_gives_the_same_bits_by_any_number_of_threads(threads):
    parts = weights(3 * BLOCK + 17)
    alone = sketch(parts)
    torch.set_num_threads(threads)
    assert torch.equal(sketch(parts), alone)


def test_squared_distances_and_inner_products_are_unbiased():
    (x,), (y,) = weights(2_000, seed=1), weights(2_000, seed=2)
    draws = 400
    sketches = [(sketch([x], seed=seed), sketch([y], seed=seed)) for seed in range(draws)]
    distance = torch.stack([(a - b).square().sum() for a, b in sketches]).mean().item() / (x - y).square().sum().item()
    product = torch.stack([a @ b for a, b in sketches]).mean().item()
    # One block: the variance of a squared distance is at most 2 sum_k |d_k|^4, and sum_k |d_k|^4 = |d|^4 / 125 where entries
    # are spread evenly (3 of the 128 numbers hold two places); 15 or 16 random entries to a place add another seventh.
    assert distance == pytest.approx(1, abs=5 * (2 * 1.3 / 125 / draws) ** 0.5)
    exact, size = (x @ y).item(), (x.norm() * y.norm()).item()
    assert product == pytest.approx(exact, abs=5 * size * (2 * 1.3 / 125 / draws) ** 0.5)


def test_blocks_that_are_equal_stay_within_the_bound():
    draws = 200
    x = torch.ones(4 * BLOCK)
    share = torch.stack([sketch([x], seed=seed).square().sum() for seed in range(draws)]) / len(x)
    # The worst case: relative variance up to 8 / 125, and its mean over the draws.
    assert share.mean().item() == pytest.approx(1, abs=5 * (8 / 125 / draws) ** 0.5)
    # The variance of 200 draws is within a factor of two of the true one, which is at most the bound
    assert share.var().item() < 2 * 8 / 125


def test_a_column_of_a_matrix_of_width_128_reaches_every_number():
    matrix = torch.zeros(512, 128)
    matrix[:, 5] = 1
    assert (sketch([matrix]) != 0).sum() > 60  # 3.9 entries of equal size to a place: four in ten sums cancel


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_sketch_takes_every_floating_type_as_it_is(dtype):
    parts = weights(1_000, dtype=dtype)
    assert torch.equal(sketch(parts), sketch([parts[0].double()]))


def test_sketch_reads_what_is_not_contiguous_row_by_row():
    matrix = weights(600)[0].view(20, 30)
    assert torch.equal(sketch([matrix.T]), sketch([matrix.T.contiguous()]))


def test_sketch_of_nothing_is_zero():
    assert torch.equal(sketch([torch.zeros(0), torch.zeros(3, 0)]), torch.zeros(ENTRIES, dtype=torch.float64))


def test_sketch_leaves_its_input_and_every_random_state():
    parts = weights(1_000)
    kept = parts[0].clone()
    states = torch.get_rng_state(), np.random.get_state()[1].tolist()
    sketch(parts)
    assert torch.equal(parts[0], kept)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]


DIGEST = """
import hashlib, torch
from lightning_interp.measures import sketch
x = torch.arange(200_000, dtype=torch.float32).remainder(977) - 488
print(hashlib.sha256(sketch([x]).numpy().tobytes()).hexdigest())
"""


def test_sketch_is_the_same_in_another_process_whatever_was_drawn_before():
    random.random(), torch.rand(3), np.random.rand(3)
    x = torch.arange(200_000, dtype=torch.float32).remainder(977) - 488
    here = hashlib.sha256(sketch([x]).numpy().tobytes()).hexdigest()
    there = subprocess.run([sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True).stdout.strip()
    assert here == there


def test_weight_sketch_counts_tied_tensors_once_and_only_selected_ones(fake):
    shared, count = torch.full((2, 2), 3.0), torch.tensor([9])
    tied = fake(weights={"a": shared, "b": shared, "n": count, "other": torch.ones(9)}, selected=("a", "b", "n"))
    assert torch.equal(WeightSketch()(tied)["weight_sketch"], sketch([shared]))


def test_weight_sketch_goes_on_when_names_and_shapes_change(fake):
    measure = WeightSketch()
    found = [measure(fake(weights={name: torch.ones(size)}))["weight_sketch"] for name, size in (("a", 5), ("b", 900))]
    assert [entries.shape for entries in found] == [(ENTRIES,), (ENTRIES,)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weight_sketch_names_a_weight_that_is_not_finite(fake, value):
    weights = {"good": torch.ones(3), "bad": torch.tensor([1.0, value, -value])}
    with pytest.raises(MeasureSkipped, match="weight bad is not finite"):
        WeightSketch()(fake(weights=weights))


def test_weight_sketch_skips_where_nothing_is_selected(fake):
    with pytest.raises(MeasureSkipped, match="no floating-point parameter"):
        WeightSketch()(fake(weights={"a": torch.zeros(0)}))
