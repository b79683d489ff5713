# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from lightning_interp.core.errors import ConfigError, ShapeError
from lightning_interp.tca.preprocess import preprocess


def activations(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def powers(count):
    return [2**k - 1 for k in range(count)]


def test_preprocess_of_a_small_tensor_only_scales():
    tensor = activations(4, 5, 6) * torch.tensor([1.0, 10.0, 100.0, 1e-3], dtype=torch.float64)[:, None, None]
    done = preprocess(tensor, [0, 1, 5, 9])
    assert done.steps == (0, 1, 5, 9)
    # One division and one multiplication per entry, each rounded to 1e-16 relative.
    torch.testing.assert_close(done.tensor * done.scales[:, None, None], tensor, rtol=1e-14, atol=0)
    torch.testing.assert_close(done.scales, tensor.square().mean(dim=(1, 2)).sqrt(), rtol=1e-14, atol=0)
    assert len(done.notes) == 1 and done.notes[0].startswith("Divided each snapshot by its root mean square, 0.00")
    assert done.variance_kept == 1 and done.silent_steps == ()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_preprocess_is_the_selection_divided_by_the_scales(dtype):
    tensor = activations(12, 30, 20, dtype=dtype) * torch.logspace(-2, 2, 12, dtype=dtype)[:, None, None]
    labels, heldout = torch.arange(30) % 3, torch.arange(30) % 5 == 0
    done = preprocess(tensor, powers(12), labels=labels, heldout=heldout, max_snapshots=6, max_stimuli=15, max_units=8)
    kept = tensor[done.snapshots][:, done.stimuli][:, :, done.units]
    assert done.tensor.shape == (6, 15, 8) and done.tensor.dtype == dtype
    # Rounding of one product: 6e-8 relative in float32.
    torch.testing.assert_close((done.tensor * done.scales[:, None, None]).to(dtype), kept, rtol=2e-7, atol=0)
    # Sums of 120 squares of order one.
    torch.testing.assert_close(done.tensor.square().mean(dim=(1, 2)), torch.ones(6, dtype=dtype), rtol=1e-5, atol=0)
    assert done.steps == tuple(powers(12)[i] for i in done.snapshots.tolist())


def test_preprocess_notes_say_what_was_done():
    labels, heldout = torch.arange(30) % 3, torch.arange(30) % 5 == 0
    done = preprocess(
        activations(12, 30, 20), powers(12), labels=labels, heldout=heldout, max_snapshots=6, max_stimuli=15, max_units=8
    )
    share = f"{100 * done.variance_kept:.1f} %"
    assert done.notes[:3] == (
        "Kept 6 of 12 snapshots, spread evenly in log(step + 1).",
        "Kept 15 of 30 stimuli, in proportion to split and class.",
        f"Kept the 8 of 20 units of highest variance, {share} of the variance.",
    )


def test_preprocess_without_labels_says_how_stimuli_were_chosen():
    done = preprocess(activations(3, 9, 4), [0, 1, 2], max_stimuli=4, scale="none")
    assert done.notes == ("Kept 4 of 9 stimuli, spread over their order (no classes or splits given).",)


def test_preprocess_without_scale_keeps_the_values_themselves():
    tensor = activations(3, 4, 5)
    done = preprocess(tensor, [0, 1, 2], scale="none")
    assert torch.equal(done.tensor, tensor)
    assert done.scales.tolist() == [1, 1, 1] and done.notes == ()


def test_preprocess_leaves_a_silent_snapshot_and_says_so():
    tensor = activations(3, 4, 5)
    tensor[0] = 0
    done = preprocess(tensor, [0, 10, 1000])
    assert done.scales[0] == 1 and done.silent_steps == (0,)
    assert not done.tensor[0].any()
    assert done.notes[-1] == "Every kept activation is zero at step 0; left as it is (scale 1)."


def test_preprocess_takes_out_the_growth_of_the_norm():
    pattern = activations(1, 6, 7)
    growth = torch.tensor([1.0, 3.0, 1e4, 1e-12], dtype=torch.float64)[:, None, None]
    done = preprocess(pattern * growth, [0, 1, 2, 3])
    # The same matrix in every snapshot, up to rounding of its norm.
    torch.testing.assert_close(done.tensor, done.tensor[:1].expand(4, -1, -1), rtol=1e-12, atol=0)


def test_preprocess_is_invariant_under_a_positive_factor():
    tensor = activations(8, 20, 10)
    limits = {"max_snapshots": 5, "max_stimuli": 9, "max_units": 4}
    one, other = preprocess(tensor, powers(8), **limits), preprocess(1e-3 * tensor, powers(8), **limits)
    torch.testing.assert_close(one.tensor, other.tensor, rtol=1e-12, atol=1e-15)
    assert torch.equal(one.units, other.units)


def test_preprocess_survives_magnitudes_whose_squares_overflow():
    tensor = activations(2, 3, 4) * torch.tensor([1e200, 1e-200], dtype=torch.float64)[:, None, None]
    done = preprocess(tensor, [0, 1])
    torch.testing.assert_close(done.tensor.square().mean(dim=(1, 2)), torch.ones(2, dtype=torch.float64))


def test_preprocess_converts_half_precision():
    done = preprocess(activations(3, 4, 5).bfloat16(), [0, 1, 2], scale="none")
    assert done.tensor.dtype == torch.float32
    assert done.notes == ("Converted bfloat16 to float32.",)


def test_preprocess_is_deterministic_and_draws_nothing():
    before = torch.get_rng_state()
    tensor = activations(8, 20, 10)
    one, other = (preprocess(tensor, powers(8), max_stimuli=7, max_units=3) for _ in range(2))
    assert torch.equal(one.tensor, other.tensor)
    assert torch.equal(torch.get_rng_state(), before)


def test_preprocess_does_not_change_its_input():
    tensor = activations(3, 4, 5)
    copy = tensor.clone()
    preprocess(tensor, [0, 1, 2])
    assert torch.equal(tensor, copy)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("max_snapshots", 1, "`max_snapshots` must be an integer of 2 or more, got 1"),
        ("max_stimuli", 0, "`max_stimuli` must be an integer of 1 or more, got 0"),
        ("max_units", -3, "`max_units` must be an integer of 1 or more, got -3"),
    ],
)
def test_preprocess_refuses_a_limit_that_keeps_nothing(name, value, text):
    with pytest.raises(ConfigError, match=text):
        preprocess(torch.ones(3, 4, 5), [0, 1, 2], **{name: value})


def test_preprocess_says_where_an_activation_is_not_finite():
    tensor = activations(3, 4, 5)
    tensor[2, 1, 3] = float("nan")
    with pytest.raises(
        ShapeError, match=r"preprocess: `tensor` must be finite, but is nan at snapshot 2, stimulus 1, unit 3"
    ):
        preprocess(tensor, [0, 1, 2])
