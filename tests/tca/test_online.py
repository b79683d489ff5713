# SPDX-License-Identifier: Apache-2.0
import itertools
import json
import math

import pytest
import torch

from lightning_interp.core.errors import ConfigError, ShapeError
from lightning_interp.tca import ComponentChange, OnlineTCA, select_rank
from lightning_interp.tca.cp import CPFit
from lightning_interp.tca.identity import first_seen, followed
from lightning_interp.tca.prediction import SlicePredictions, loadings_of
from lightning_interp.tca.streaming_basis import NEW_DIRECTIONS, StreamingBasis

pytestmark = pytest.mark.usefixtures("unchecked_fits")

SHAPE = (24, 20, 26)


def follow(tensor, ranks, *, every=6, steps=None, **settings):
    """An `OnlineTCA` that was given every snapshot, refitted every few of them and at the end."""
    online = OnlineTCA(ranks, **{"restarts": 3, **settings})
    for index, snapshot in enumerate(tensor):
        online.add(index if steps is None else steps[index], snapshot)
        if index % every == every - 1 or index == len(tensor) - 1:
            online.refit()
    return online


def sigmoid_then(onset, planted, *, nonnegative=False, seed=0):
    """Two components from the start, and one that rises at a snapshot."""
    case = planted.planted(SHAPE, 3, seed=seed, noise=0.0, nonnegative=nonnegative)
    time = torch.arange(SHAPE[0], dtype=torch.float64)
    courses = torch.stack([1 + 0 * time, 1 + 0.5 * torch.sin(time / 4), torch.sigmoid(2 * (time - onset))], dim=1)
    factors = [courses, *case.factors[1:]]
    signal = planted.full(torch.ones(3), factors)
    tensor = planted.with_noise(signal, 0.05, torch.Generator().manual_seed(seed))
    return (tensor.clamp_min(0) if nonnegative else tensor), factors


# against a fit of everything at once


@pytest.mark.parametrize("nonnegative", [False, True])
def test_online_errors_are_about_those_of_a_batch_fit(planted, nonnegative):
    tensor = planted.training_like(SHAPE, 2, nonnegative=nonnegative).tensor
    online = follow(tensor, [1, 2, 3], nonnegative=nonnegative)
    batch = select_rank(tensor, [1, 2, 3], nonnegative=nonnegative, restarts=5, heldout=False)
    for ours, theirs in zip(online.selection.table, batch.table, strict=True):
        # a snapshot loses directions of less than 1e-4 of its energy: of errors of .1, at most half a percent each
        assert ours["relative_error"] == pytest.approx(theirs["relative_error"], rel=0.03)


@pytest.mark.parametrize("nonnegative", [False, True])
def test_online_relative_error_is_that_of_its_fit_or_slightly_above(planted, nonnegative):
    tensor = planted.planted(SHAPE, 2, nonnegative=nonnegative).tensor
    online = follow(tensor, [2], nonnegative=nonnegative)
    assert online.fit.relative_error == pytest.approx(planted.residual(tensor, online.fit), rel=0.02)


@pytest.mark.usefixtures("checked_types")
@pytest.mark.parametrize("nonnegative", [False, True])
def test_online_recovers_planted_components(planted, nonnegative):
    case = planted.planted(SHAPE, 3, nonnegative=nonnegative)
    online = follow(case.tensor, [3], nonnegative=nonnegative)
    assert float(planted.congruences(online.fit, case.factors).min()) > 0.99


def test_online_recommends_the_planted_rank_in_the_end(planted):
    case = planted.training_like(SHAPE, 3, seed=1)
    assert follow(case.tensor, range(1, 6)).selection.recommended == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_online_takes_the_precision_a_network_computes_in(planted, dtype):
    tensor = planted.planted((6, 8, 9), 1).tensor.to(dtype)
    assert follow(tensor, [1]).fit.cp_weights.dtype == torch.float64


def test_online_refit_does_not_depend_on_the_scale_of_activations(planted):
    tensor = planted.planted((10, 12, 14), 2).tensor
    plain, scaled = (follow(scale * tensor, [2]) for scale in (1, 1e-9))
    assert plain.fit.relative_error == pytest.approx(scaled.fit.relative_error, rel=1e-4)


# identities


@pytest.mark.parametrize("nonnegative", [False, True])
def test_identities_are_stable_where_nothing_changes(planted, nonnegative):
    case = planted.planted(SHAPE, 3, seed=4, nonnegative=nonnegative)
    online = follow(case.tensor, [3], nonnegative=nonnegative)
    assert online.component_ids == (0, 1, 2)
    assert online.changes == tuple(ComponentChange(5, number, "birth") for number in range(3))


@pytest.mark.usefixtures("checked_types")
def test_components_keep_order_and_sign_from_refit_to_refit(planted):
    case = planted.planted(SHAPE, 3, seed=4)
    online, fits = OnlineTCA([3], restarts=3), []
    for step, snapshot in enumerate(case.tensor):
        online.add(step, snapshot)
        if step % 6 == 5:
            online.refit()
            fits.append(online.fit)
    for before, after in itertools.pairwise(fits):
        for mode in (1, 2):
            cosines = (before.factors[mode] * after.factors[mode]).sum(dim=0)
            assert bool((cosines > 0.95).all())


@pytest.mark.parametrize("nonnegative", [False, True])
def test_a_component_that_comes_later_is_a_birth(planted, nonnegative):
    tensor, _ = sigmoid_then(14, planted, nonnegative=nonnegative)
    online = follow(tensor, [2, 3], nonnegative=nonnegative, every=4)
    later = [change for change in online.changes if change.kind == "birth" and change.step > 12]
    assert len(online.component_ids) == 3
    assert {change.component for change in later} & set(online.component_ids)


def test_following_turns_factors_back_without_changing_the_model(planted):
    generator = torch.Generator().manual_seed(0)
    factors = [torch.linalg.qr(torch.randn(size, 3, generator=generator, dtype=torch.float64)).Q for size in (5, 6, 7)]
    before = CPFit(torch.tensor([3.0, 2.0, 1.0]).double(), tuple(factors), 0.0, True, 1)
    flips = torch.tensor([1.0, -1.0, -1.0]).double()
    order = [2, 0, 1]
    after = CPFit(
        before.cp_weights[order],
        tuple(f[:, order] for f in (factors[0], factors[1] * flips, factors[2] * flips)),
        0,
        True,
        1,
    )
    seen = followed(after, before, (4, 7, 9), step=8, next_id=10)
    assert (seen.ids, seen.changes) == ((4, 7, 9), ())
    torch.testing.assert_close(seen.fit.full(), after.full())
    for mode in (1, 2):
        torch.testing.assert_close(seen.fit.factors[mode], before.factors[mode])


def test_following_gives_new_numbers_to_what_is_new_and_reports_what_went():
    identity = torch.eye(6, dtype=torch.float64)
    make = lambda columns: CPFit(  # noqa: E731
        torch.ones(len(columns), dtype=torch.float64), tuple(identity[:, columns] for _ in range(3)), 0.0, True, 1
    )
    seen = followed(make([1, 5]), make([0, 1]), (2, 3), step=40, next_id=6)
    assert seen.ids == (3, 6)
    assert seen.changes == (ComponentChange(40, 2, "death"), ComponentChange(40, 6, "birth"))


def test_first_seen_numbers_components_by_weight():
    fit = CPFit(torch.ones(2), tuple(torch.ones(3, 2) for _ in range(3)), 0.0, True, 1)
    assert first_seen(fit, step=5).changes == (ComponentChange(5, 0, "birth"), ComponentChange(5, 1, "birth"))


@pytest.fixture(scope="module")
def taken_over(planted, unchecked_fits):
    """A run followed at rank 1, in which a component three times as strong takes the place of the first."""
    first, second = (planted.planted((12, 8, 9), 1, seed=seed).tensor for seed in (0, 1))
    return follow(torch.cat([first, 3 * second]), [1], every=4, restarts=1)


def test_a_number_is_given_once(taken_over):
    births = [change.component for change in taken_over.changes if change.kind == "birth"]
    assert len(births) == len(set(births)) == 2


def test_what_lives_is_what_was_born_and_has_not_died(taken_over):
    alive = set()
    for change in taken_over.changes:
        (alive.add if change.kind == "birth" else alive.discard)(change.component)
    assert alive == set(taken_over.component_ids)


def test_the_followed_rank_changes_when_another_was_recommended_twice(planted):
    tensor, _ = sigmoid_then(14, planted)
    online, ranks = OnlineTCA([2, 3], restarts=3), []
    for step, snapshot in enumerate(tensor):
        online.add(step, snapshot)
        if step >= 11 and step % 3 == 2:
            online.refit()
            ranks.append((online.selection.recommended, online.fit.rank))
    for (before, _), (now, was) in itertools.pairwise(ranks):
        assert was == now or before != now


# state


def through_json(online):
    tensors, metadata = online.state()
    return OnlineTCA.from_state(tensors, json.loads(json.dumps(metadata)))


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("stop", [0, 2, 13])
def test_from_state_goes_on_as_if_nothing_had_been(planted, nonnegative, stop):
    tensor = planted.training_like((18, 8, 9), 2, nonnegative=nonnegative).tensor
    whole, parted = (OnlineTCA([1, 2], restarts=1, nonnegative=nonnegative, history=12, tol=1e-4) for _ in range(2))
    for step, snapshot in enumerate(tensor):
        if step == stop:
            parted = through_json(parted)
        for online in (whole, parted):
            online.add(step, snapshot)
            if step % 5 == 4:
                online.refit()
    assert parted.selection.table == whole.selection.table
    assert parted.selection.reasons == whole.selection.reasons
    assert (parted.component_ids, parted.changes, parted.steps) == (whole.component_ids, whole.changes, whole.steps)
    torch.testing.assert_close(list(parted.fit.factors), list(whole.fit.factors), rtol=0, atol=0)


@pytest.mark.usefixtures("checked_types")
def test_state_can_be_written_as_tensors_and_json(planted):
    tensors, metadata = follow(planted.planted((8, 9, 10), 2).tensor, [1, 2]).state()
    assert all(isinstance(value, torch.Tensor) for value in tensors.values())
    assert json.loads(json.dumps(metadata, allow_nan=False)) == metadata


def test_state_does_not_change_with_what_comes_later(planted):
    tensor = planted.planted((9, 9, 10), 2).tensor
    online = follow(tensor[:8], [2])
    tensors, _ = online.state()
    before = {name: value.clone() for name, value in tensors.items()}
    online.add(100, tensor[8])
    online.refit()
    torch.testing.assert_close(tensors, before, rtol=0, atol=0)


@pytest.mark.usefixtures("checked_types")
def test_from_state_keeps_what_was_reported(planted):
    online = follow(planted.planted((8, 9, 10), 2).tensor, [1, 2])
    back = through_json(online)
    assert back.selection.recommended == online.selection.recommended
    assert (back.fit_steps, back.component_ids) == (online.fit_steps, online.component_ids)
    assert back.fit.flags == online.fit.flags


def test_from_state_of_a_part_says_what_is_missing(planted):
    tensors, metadata = follow(planted.planted((8, 9, 10), 2).tensor, [1, 2]).state()
    del tensors["basis/2"]
    with pytest.raises(KeyError, match="basis/2"):
        OnlineTCA.from_state(tensors, metadata)


# cost and memory


def test_add_works_on_no_more_after_many_snapshots(planted):
    """Sizes of what a snapshot is multiplied with do not grow with the run."""
    generator = torch.Generator().manual_seed(0)
    online = OnlineTCA([1, 2], history=8)
    sizes = []
    for step in range(60):
        online.add(step, torch.randn(50, 60, generator=generator))
        tensors, _ = online.state()
        sizes.append(sum(tensor.numel() for tensor in tensors.values()))
    assert max(sizes[20:]) == sizes[20]


@pytest.mark.parametrize("directions", [4, 10])
def test_streaming_basis_keeps_at_most_as_many_directions_as_asked(directions):
    generator = torch.Generator().manual_seed(0)
    basis = StreamingBasis(directions)
    for step in range(12):
        basis.add(step, torch.randn(20, 30, generator=generator, dtype=torch.float64))
    assert [each.shape[1] for each in basis.bases] == [directions, directions]
    assert tuple(basis.core.shape) == (12, directions, directions)


def test_streaming_basis_is_orthonormal():
    generator = torch.Generator().manual_seed(0)
    basis = StreamingBasis(16)
    for step in range(12):
        basis.add(step, torch.randn(20, 30, generator=generator, dtype=torch.float64))
    for each in basis.bases:
        torch.testing.assert_close(each.T @ each, torch.eye(16, dtype=torch.float64), rtol=0, atol=1e-10)


def test_streaming_basis_holds_a_low_rank_run_exactly(planted):
    tensor = planted.planted((10, 12, 14), 3, noise=0).tensor
    basis = StreamingBasis(32)
    for step, snapshot in enumerate(tensor):
        basis.add(step, snapshot)
    found = torch.einsum("iab,ja,kb->ijk", basis.core, *basis.bases)
    # what lies below 1e-4 of the energy of the first snapshots stays out
    assert float((found - tensor).norm() / tensor.norm()) < 0.02


def test_streaming_basis_takes_no_more_than_its_share_from_one_snapshot():
    basis = StreamingBasis(32)
    basis.add(0, torch.randn(40, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    assert [each.shape[1] for each in basis.bases] == [NEW_DIRECTIONS, NEW_DIRECTIONS]


@pytest.mark.usefixtures("checked_types")
def test_streaming_basis_compressed_is_the_core_in_other_directions(planted):
    basis = StreamingBasis(16)
    for step, snapshot in enumerate(planted.planted((10, 12, 14), 3).tensor):
        basis.add(step, snapshot)
    found = basis.compressed()
    torch.testing.assert_close(
        torch.einsum("abc,ia,jb,kc->ijk", found.core, *found.bases),
        torch.einsum("iab,ja,kb->ijk", basis.core, *basis.bases),
        rtol=0,
        atol=1e-10,
    )


def test_streaming_basis_counts_the_energy_of_what_it_lost(planted):
    tensor = planted.planted((10, 12, 14), 3, noise=0.5).tensor
    basis = StreamingBasis(4)
    for step, snapshot in enumerate(tensor):
        basis.add(step, snapshot)
    assert basis.compressed().norm2 == pytest.approx(float(tensor.square().sum()), rel=1e-12)


@pytest.mark.usefixtures("checked_types")
@pytest.mark.parametrize("most", [3, 5, 8])
def test_thinning_keeps_first_and_last_and_no_more_than_asked(planted, most):
    online = OnlineTCA([1], history=most)
    for index, snapshot in enumerate(planted.planted((20, 6, 7), 1).tensor):
        online.add(10 * index, snapshot)
        assert len(online.steps) == min(index + 1, most)
        assert (online.steps[0], online.steps[-1]) == (0, 10 * index)


def test_thinning_leaves_steps_even_in_their_logarithm():
    basis = StreamingBasis(4)
    for step in range(200):
        basis.add(step, torch.eye(3, dtype=torch.float64))
        basis.thin(12)
    gaps = torch.log(torch.tensor(basis.steps, dtype=torch.float64) + 1).diff()
    # the last gaps close up until their turn comes; none is much wider than the even one
    assert float(gaps.max()) < 3 * math.log(200) / 11


def test_thinning_keeps_steps_cores_and_energies_together():
    basis = StreamingBasis(4)
    for step in range(1, 30):
        basis.add(step, step * torch.eye(3, dtype=torch.float64))
        basis.thin(6)
    expected = [3 * float(step) ** 2 for step in basis.steps]
    assert basis.energies == pytest.approx(expected)
    assert basis.core.square().sum(dim=(1, 2)).tolist() == pytest.approx(expected)


def test_fit_steps_are_the_rows_of_the_first_factor(planted):
    online = follow(planted.planted((20, 6, 7), 1).tensor, [1], history=8, every=20)
    rows = len(online.fit_steps)
    online.add(100, torch.ones(6, 7))
    assert (rows, len(online.fit_steps)) == (online.fit.factors[0].shape[0], rows)
    assert online.steps[-1] == 100 != online.fit_steps[-1]


# loadings and predictions


@pytest.mark.usefixtures("checked_types")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loadings_are_lstsq(planted, dtype):
    case = planted.planted((12, 9, 10), 3)
    online = follow(case.tensor, [3])
    snapshot = case.tensor[4].to(dtype)
    design = torch.einsum("sr,ur->sur", *online.fit.factors[1:]).reshape(-1, 3)
    expected = torch.linalg.lstsq(design, snapshot.double().reshape(-1, 1)).solution[:, 0]
    torch.testing.assert_close(online.loadings(snapshot), expected, rtol=1e-9, atol=1e-12)


def test_loadings_of_the_models_own_snapshots_are_courses_times_weights(planted):
    online = follow(planted.planted((12, 9, 10), 3).tensor, [3])
    expected = online.fit.factors[0][5] * online.fit.cp_weights
    torch.testing.assert_close(online.loadings(online.fit.full()[5]), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.usefixtures("checked_types")
def test_loadings_are_not_negative_where_factors_may_not_be(planted):
    from scipy.optimize import nnls

    case = planted.planted((12, 9, 10), 3, nonnegative=True)
    online = follow(case.tensor, [3], nonnegative=True)
    other = torch.rand(9, 10, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * (torch.arange(10) > 6)
    design = torch.einsum("sr,ur->sur", *online.fit.factors[1:]).reshape(-1, 3)
    expected, _ = nnls(design.numpy(), other.reshape(-1).numpy())
    # twenty passes of coordinate descent over three components
    torch.testing.assert_close(online.loadings(other), torch.as_tensor(expected), rtol=0, atol=1e-3 * float(other.norm()))


def test_loadings_of_several_snapshots_are_those_of_each(planted):
    case = planted.planted((12, 9, 10), 3)
    fit = follow(case.tensor, [3]).fit
    many = loadings_of(case.tensor, fit, nonnegative=False)
    each = torch.stack([loadings_of(snapshot, fit, nonnegative=False) for snapshot in case.tensor])
    torch.testing.assert_close(many, each, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("checked_types")
def test_predictions_of_the_right_components_have_the_error_of_the_noise(planted):
    case = planted.planted((14, 20, 22), 2)
    online = follow(case.tensor[:10], [1, 2])
    for step in range(10, 14):
        online.add(step, case.tensor[step])
    online.refit()
    errors = {row["rank"]: row["heldout_error"] for row in online.selection.table}
    # the noise has the same strength in every snapshot, the signal has not
    noise = (
        planted.NOISE * (4 / 14) ** 0.5 * float(planted.full(case.weights, case.factors).norm() / case.tensor[10:].norm())
    )
    assert errors[2] == pytest.approx(noise, rel=0.2)
    assert errors[1] > 2 * errors[2]


def test_predictions_come_from_stimuli_that_are_not_predicted(planted):
    """A snapshot whose odd stimuli are noise does not change how the even ones are guessed, but for the loadings."""
    case = planted.planted((10, 8, 9), 1, noise=0)
    fit = follow(case.tensor, [1]).fit
    judged = SlicePredictions(nonnegative=False)
    judged.judge(case.tensor[3], {1: fit})
    assert judged.errors()[1] < 1e-4


def test_predictions_are_empty_before_the_first_and_restored_from_their_state():
    judged = SlicePredictions(nonnegative=False)
    assert judged.errors() == {}
    fit = CPFit(torch.ones(1).double(), tuple(torch.ones(n, 1).double() / n**0.5 for n in (3, 4, 5)), 0.0, True, 1)
    judged.judge(torch.rand(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64), {1: fit})
    judged.age()
    other = SlicePredictions(nonnegative=False)
    other.restore(json.loads(json.dumps(judged.state())))
    assert other.errors() == judged.errors() != {}


@pytest.mark.usefixtures("checked_types")
def test_predictions_of_one_stimulus_do_not_fail():
    online = follow(torch.rand(8, 1, 9, generator=torch.Generator().manual_seed(0)), [1], every=4)
    assert math.isfinite(online.fit.relative_error)


# hard cases and bad input


@pytest.mark.parametrize("nonnegative", [False, True])
def test_online_takes_snapshots_of_zeros_among_others(planted, nonnegative):
    tensor = planted.planted((10, 8, 9), 2, nonnegative=nonnegative).tensor
    tensor[:2] = 0
    online = follow(tensor, [2], nonnegative=nonnegative, every=5)
    assert all(bool(torch.isfinite(factor).all()) for factor in online.fit.factors)


@pytest.mark.parametrize("nonnegative", [False, True])
def test_online_takes_a_run_that_does_not_change(nonnegative):
    snapshot = torch.rand(8, 9, generator=torch.Generator().manual_seed(0))
    online = follow(snapshot.expand(12, 8, 9), [1, 2, 3], nonnegative=nonnegative)
    assert "constant_slices" in online.fit.flags
    assert all(bool(torch.isfinite(factor).all()) for fit in online.selection.fits.values() for factor in fit.factors)


def test_refit_of_nothing_but_zeros_is_refused():
    online = OnlineTCA([1])
    for step in range(3):
        online.add(step, torch.zeros(4, 5))
    with pytest.raises(ShapeError, match=r"all activations of steps \[0, 1, 2\] are zero"):
        online.refit()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_refit_needs_three_snapshots(count):
    online = OnlineTCA([1])
    for step in range(count):
        online.add(step, torch.rand(4, 5))
    with pytest.raises(ConfigError, match=f"OnlineTCA.refit: needs 3 snapshots or more, has {count}; add some"):
        online.refit()


def test_refit_refuses_ranks_that_what_is_kept_cannot_carry():
    online = OnlineTCA([1, 13])
    for step in range(3):
        online.add(step, torch.rand(4, 5))
    with pytest.raises(ConfigError, match=r"rank: 13 is more than a tensor of shape \(3, 4, 5\) can carry"):
        online.refit()


def test_loadings_before_a_fit_are_refused():
    with pytest.raises(ConfigError, match=r"OnlineTCA\.loadings: nothing is fitted yet; call refit"):
        OnlineTCA([1]).loadings(torch.ones(4, 5))


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("shape", [(8, 9), (10, 9), (90,)])
def test_loadings_of_another_shape_are_refused(planted, shape):
    online = follow(planted.planted((8, 9, 10), 2).tensor, [2])
    with pytest.raises(ShapeError, match="activations: expected shape"):
        online.loadings(torch.ones(shape))


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("shape", [(4, 6), (5, 4), (4, 5, 1), (20,), (0, 5)])
def test_add_refuses_other_axes_and_keeps_what_it_had(shape):
    online = OnlineTCA([1])
    online.add(0, torch.ones(4, 5))
    with pytest.raises(ShapeError, match=r"activations: expected shape \(4, 5\), as before, got .* at step 3"):
        online.add(3, torch.ones(shape))
    assert online.steps == (0,)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("shape", [(4, 5, 1), (20,), (0, 5)])
def test_add_refuses_what_is_no_matrix(shape):
    with pytest.raises(ShapeError, match=r"activations: expected shape \(stimulus, unit\), got"):
        OnlineTCA([1]).add(0, torch.ones(shape))


@pytest.mark.parametrize("step", [3, 7])
def test_add_refuses_steps_that_do_not_ascend(step):
    online = OnlineTCA([1])
    online.add(7, torch.ones(4, 5))
    with pytest.raises(ConfigError, match=f"step: snapshots come in ascending order; {step} came after 7"):
        online.add(step, torch.ones(4, 5))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_add_refuses_entries_that_are_not_finite_and_names_them(value):
    snapshot = torch.ones(4, 5)
    snapshot[2, 3] = value
    with pytest.raises(ShapeError, match=rf"activations: entry \(2, 3\) of step 9 is {value}"):
        OnlineTCA([1]).add(9, snapshot)


def test_add_refuses_negative_entries_where_factors_may_not_be():
    snapshot = torch.ones(4, 5)
    snapshot[0, 0] = -2
    with pytest.raises(ConfigError, match=r"nonnegative: activations of step 9 are negative \(lowest -2\)"):
        OnlineTCA([1], nonnegative=True).add(9, snapshot)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ranks": []}, "ranks: "),
        ({"ranks": [0]}, "ranks: "),
        ({"restarts": 0}, "restarts: "),
        ({"seed": -1}, "seed: "),
        ({"tol": 0}, "tol: "),
        ({"max_iter": 0}, "max_iter: "),
        ({"history": 2}, "history: expected 3 snapshots or more, got 2"),
        ({"device": "foo"}, "device: "),
    ],
    ids=lambda value: str(value)[:20],
)
def test_online_refuses_settings_it_cannot_honour(settings, message):
    with pytest.raises(ConfigError, match=message):
        OnlineTCA(**{"ranks": [1], **settings})


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("history", [None, "64", 10.5])
def test_online_refuses_a_history_that_is_no_whole_number(history):
    with pytest.raises(ConfigError, match="history: "):
        OnlineTCA([1], history=history)
