# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_interp.core.errors import ShapeError
from lightning_interp.measures import (
    CyclicGroupTask,
    band_pass,
    exponent_table,
    fourier_basis,
    frequency_power,
    label_table,
    select_key_freqs,
)
from lightning_interp.measures.fourier import KEY_LIMIT, null_threshold, row_frequencies


def random_logits(order, *, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(order, order, order, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("order", [2, 3, 4, 13, 22, 113, 112])
def test_fourier_basis_is_orthonormal(order):
    basis = fourier_basis(order)
    # Sums of `order` products, each rounded at 1e-16.
    torch.testing.assert_close(basis @ basis.T, torch.eye(order, dtype=torch.float64), rtol=0, atol=1e-14)


def test_fourier_basis_rows_are_constant_then_cosines_and_sines():
    basis, order = fourier_basis(7), 7
    assert basis[0].tolist() == pytest.approx([1 / math.sqrt(7)] * 7, abs=1e-15)
    for k in (1, 2, 3):
        cos = [math.sqrt(2 / order) * math.cos(2 * math.pi * k * x / order) for x in range(order)]
        sin = [math.sqrt(2 / order) * math.sin(2 * math.pi * k * x / order) for x in range(order)]
        # The slow form does not reduce k x modulo n: angles up to 12 round at 2e-15.
        assert basis[2 * k - 1].tolist() == pytest.approx(cos, abs=1e-14)
        assert basis[2 * k].tolist() == pytest.approx(sin, abs=1e-14)


def test_fourier_basis_of_even_order_ends_in_the_alternating_row():
    assert fourier_basis(6)[-1].tolist() == pytest.approx([(-1) ** x / math.sqrt(6) for x in range(6)], abs=1e-15)


@pytest.mark.parametrize("order", [7, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_frequency_power_equals_the_fft(order, dtype):
    table = random_logits(order, dtype=dtype)[0]
    spectrum = torch.fft.rfft(table.double(), dim=0, norm="ortho").abs().square().sum(dim=1)[1:]
    # The real FFT gives one of two conjugate halves; the alternating row of even orders has only one.
    twice = torch.tensor([1.0 if 2 * k == order else 2.0 for k in range(1, order // 2 + 1)])
    torch.testing.assert_close(frequency_power(table), twice * spectrum, rtol=1e-13, atol=0)


@settings(deadline=None, max_examples=20)
@given(st.integers(3, 12), st.integers(1, 11), st.integers(0, 100))
def test_frequency_power_is_shift_invariant(order, shift, seed):
    table = random_logits(order, seed=seed)[0]
    # Shifting turns phases within a frequency; rounding of order 1e-15.
    torch.testing.assert_close(frequency_power(table.roll(shift, 0)), frequency_power(table), rtol=1e-11, atol=1e-13)


def test_label_table_equals_the_mean_of_each_label():
    labels = exponent_table(5, "add").flatten()
    logits = random_logits(5).flatten(0, 1)
    slow = torch.stack([logits[labels == s].mean(dim=0) for s in range(5)])
    torch.testing.assert_close(label_table(logits, labels, order=5), slow, rtol=0, atol=1e-15)


def test_label_table_fills_a_missing_label_with_the_mean_of_the_others():
    logits = torch.arange(9.0)[:, None].expand(9, 2)
    assert label_table(logits, torch.arange(9), order=10)[9].tolist() == [4.0, 4.0]


def test_label_table_refuses_more_than_a_tenth_missing():
    with pytest.raises(ShapeError, match=r"nine in ten of these have a pair, got 8 different"):
        label_table(torch.zeros(8, 2), torch.arange(8), order=10)


def circuit_directions(order, k, op):
    """u_k and v_k on the pair axis, written out from the product of 1-D rows as in the paper."""
    freqs = row_frequencies(order)
    if 2 * k == order:
        alternating = fourier_basis(order)[freqs == k][0]
        return [torch.outer(alternating, alternating).flatten()]
    cos, sin = fourier_basis(order)[freqs == k]
    cc, ss, cs, sc = (torch.outer(x, y) for x, y in ((cos, cos), (sin, sin), (cos, sin), (sin, cos)))
    u, v = (cc + ss, sc - cs) if op == "sub" else (cc - ss, sc + cs)
    return [(u / math.sqrt(2)).flatten(), (v / math.sqrt(2)).flatten()]


@pytest.mark.parametrize("op", ["add", "sub"])
@pytest.mark.parametrize("order", [7, 8, 13])
@pytest.mark.parametrize("freqs", [(1,), (2, 3), (1, 2, 3)])
def test_band_pass_equals_the_explicit_projection(order, op, freqs):
    freqs = (*freqs, order // 2)
    logits = random_logits(order).flatten(0, 1)
    directions = [d for k in set(freqs) for d in circuit_directions(order, k, op)]
    slow = sum(torch.outer(d, d @ logits) for d in directions)
    labels = exponent_table(order, op).flatten()
    fast = band_pass(label_table(logits, labels, order=order), key_freqs=torch.tensor(freqs))[labels]
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-12)


def test_band_pass_equals_the_explicit_projection_over_logarithms():
    p = 7
    task = CyclicGroupTask(p, "mul")
    labels = exponent_table(p, "mul").flatten()
    logits = random_logits(task.order).flatten(0, 1)
    slow = sum(torch.outer(d, d @ logits) for d in circuit_directions(task.order, 2, "add"))
    fast = band_pass(label_table(logits, labels, order=task.order), key_freqs=torch.tensor([2]))[labels]
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-12)


def test_band_pass_twice_is_band_pass_once():
    table, keys = random_logits(13)[0], torch.tensor([2, 5])
    once = band_pass(table, key_freqs=keys)
    torch.testing.assert_close(band_pass(once, key_freqs=keys), once, rtol=0, atol=1e-14)


def test_band_pass_of_all_frequencies_leaves_only_the_mean():
    table = random_logits(8)[0]
    rest = table - band_pass(table, key_freqs=torch.arange(1, 5))
    torch.testing.assert_close(rest, table.mean(dim=0).expand_as(table), rtol=0, atol=1e-14)


def test_band_pass_of_no_frequency_is_zero():
    assert not band_pass(random_logits(5)[0], key_freqs=torch.tensor([], dtype=torch.long)).any()


def test_band_pass_refuses_frequencies_out_of_range():
    with pytest.raises(ShapeError, match=r"`key_freqs` must lie in 1 \.\. 6, got \[7\]"):
        band_pass(random_logits(13)[0], key_freqs=torch.tensor([7]))


def learned_pairs(build, freqs, *, noise, p=23, seed=0):
    task = CyclicGroupTask(p, "add")
    logits = build["cosine_logits"](task, freqs, scale=1.0)
    generator = torch.Generator().manual_seed(seed)
    logits = logits + noise * torch.randn(logits.shape, generator=generator, dtype=torch.float64)
    _, labels = build["all_pairs"](task)
    keep = torch.rand(len(labels), generator=generator) < 0.5
    return logits[keep], labels[keep]


@pytest.mark.parametrize("freqs", [(4,), (1, 7, 11), (2, 3, 5, 8)])
def test_select_key_freqs_finds_the_frequencies_of_a_circuit(build, freqs):
    logits, labels = learned_pairs(build, freqs, noise=1.0)
    assert sorted(select_key_freqs(logits, labels, order=23).tolist()) == sorted(freqs)


def test_select_key_freqs_keeps_a_frequency_of_a_third_of_the_amplitude(build):
    strong, labels = learned_pairs(build, (4,), noise=0.1)
    weak, _ = learned_pairs(build, (9,), noise=0.1)
    assert select_key_freqs(3 * strong + weak, labels, order=23).tolist() == [4, 9]


def test_select_key_freqs_ignores_what_all_classes_of_a_pair_share(build):
    logits, labels = learned_pairs(build, (1, 7, 11), noise=1.0)
    shared = 100 * torch.randn(len(labels), 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    plain = select_key_freqs(logits, labels, order=23).tolist()
    assert select_key_freqs(logits + shared, labels, order=23).tolist() == plain


def test_select_key_freqs_includes_the_top_frequency(build):
    logits, labels = learned_pairs(build, (11,), noise=0.5)
    assert select_key_freqs(logits, labels, order=23).tolist() == [11]


def test_select_key_freqs_finds_the_alternating_frequency_of_even_orders(build):
    logits, labels = learned_pairs(build, (6,), noise=0.1, p=12)
    assert select_key_freqs(logits, labels, order=12).tolist() == [6]


def test_select_key_freqs_of_noise_is_almost_always_empty(build):
    # The threshold is the largest of 20 nulls, so each draw passes it with probability 1/21; 4 or more of 20 draws do
    # with probability .015.
    found = [len(select_key_freqs(*learned_pairs(build, (), noise=1.0, seed=seed), order=23)) for seed in range(20)]
    assert sum(count > 0 for count in found) < 4


def test_select_key_freqs_stops_at_the_limit(build):
    logits, labels = learned_pairs(build, tuple(range(1, 12)), noise=0.1)
    assert len(select_key_freqs(logits, labels, order=23)) == KEY_LIMIT


def test_select_key_freqs_orders_by_energy(build):
    first = learned_pairs(build, (3,), noise=0.0)[0]
    logits, labels = learned_pairs(build, (5,), noise=0.1)
    assert select_key_freqs(2 * first + logits, labels, order=23).tolist()[:1] == [3]


def test_null_threshold_is_near_its_expectation():
    order, generator = 13, torch.Generator().manual_seed(1)
    labels = exponent_table(13, "add").flatten()
    logits = torch.randn(len(labels), order, generator=generator, dtype=torch.float64)
    # Permuting N pairs, n per label, gives each frequency the expected energy 2 sigma^2 N / ((N - 1) n), sigma^2 the
    # variance summed over classes: a mean of 26 squares, so relative sd sqrt(2/26) = .28. The largest of 120 lies 1 to 4
    # sd above it.
    count = len(labels)
    expected = 2 * logits.var(dim=0, correction=0).sum() * count / ((count - 1) * 13)
    assert 1.28 < null_threshold(logits, labels, order=order) / expected < 2.2


def test_null_threshold_depends_on_its_seed_only():
    labels = exponent_table(7, "add").flatten()
    logits = random_logits(7).flatten(0, 1)
    torch.manual_seed(1)
    first = null_threshold(logits, labels, order=7, seed=3)
    torch.manual_seed(2)
    assert null_threshold(logits, labels, order=7, seed=3) == first != null_threshold(logits, labels, order=7, seed=4)
