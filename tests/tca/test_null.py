# SPDX-License-Identifier: Apache-2.0
from itertools import permutations as all_orders

import pytest
import torch

from lightning_interp.core.errors import ConfigError, ShapeError
from lightning_interp.tca.null import adjusted_p_values, group_loadings, shuffle_units


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def uniform(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=seeded(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shuffle_units_permutes_whole_columns_in_each_snapshot(dtype):
    tensor = uniform(4, 3, 7).to(dtype)
    shuffled = shuffle_units(tensor, seed=1)
    assert shuffled.dtype == dtype
    for before, after in zip(tensor, shuffled, strict=True):
        columns = {tuple(column) for column in before.T.tolist()}
        assert {tuple(column) for column in after.T.tolist()} == columns


def test_shuffle_units_uses_another_order_in_each_snapshot():
    tensor = torch.arange(50.0).expand(4, 2, 50)
    orders = {tuple(snapshot[0].tolist()) for snapshot in shuffle_units(tensor)}
    assert len(orders) == 4


def test_shuffle_units_leaves_no_lasting_component():
    one = (
        uniform(10, 1, 1, seed=1)
        * uniform(1, 12, 1, seed=2)
        * torch.randn(1, 1, 40, generator=seeded(3), dtype=torch.float64)
    )
    energy = torch.linalg.svdvals(shuffle_units(one).flatten(0, 1)).square()
    # Of one component over all snapshots, ten nearly orthogonal unit patterns remain (cosines of order 1/√40).
    assert (energy[0] / energy.sum()).item() < 0.5
    assert torch.linalg.svdvals(one.flatten(0, 1)).square()[1:].sum() < 1e-20 * energy.sum()


def test_shuffle_units_depends_on_its_seed_alone():
    tensor, before = uniform(3, 2, 20), torch.get_rng_state()
    assert torch.equal(shuffle_units(tensor, seed=5), shuffle_units(tensor, seed=5))
    assert not torch.equal(shuffle_units(tensor, seed=5), shuffle_units(tensor, seed=6))
    assert torch.equal(torch.get_rng_state(), before)


def test_shuffle_units_refuses_what_has_no_snapshots():
    with pytest.raises(ShapeError, match=r"shuffle_units: `tensor` needs the axes \(snapshot, stimulus, unit\)"):
        shuffle_units(torch.ones(3, 4))


def test_shuffle_units_refuses_a_negative_seed():
    with pytest.raises(ConfigError, match="shuffle_units: `seed` must be an integer of 0 or more, got -1"):
        shuffle_units(torch.ones(2, 2, 2), seed=-1)


def test_group_loadings_z_equals_that_of_all_permutations_within_strata():
    values = uniform(6, 2)
    groups, strata = torch.tensor([0, 1, 1, 0, 1, 2]), torch.tensor([0, 0, 0, 1, 1, 1])
    found = group_loadings(values, groups, strata, permutations=1, generator=seeded(0))
    means = []
    for first in all_orders([0, 1, 2]):
        for second in all_orders([3, 4, 5]):
            mixed = values[list(first + second)]
            means.append(torch.stack([mixed[groups == group].mean(dim=0) for group in range(3)], dim=1))
    null = torch.stack(means)
    slow = (found.means - null.mean(dim=0)) / null.std(dim=0, correction=0)
    torch.testing.assert_close(found.z, slow, rtol=1e-10, atol=1e-10)


def test_group_loadings_null_has_mean_zero_and_deviation_one():
    groups, strata = torch.arange(60) % 5, (torch.arange(60) >= 40).long()
    found = group_loadings(uniform(60, 3), groups, strata, permutations=4000, generator=seeded(1))
    # Standard errors of 4000 draws: .016 for the mean and about .011 for the deviation; five of them, 15 numbers.
    assert found.null_z.mean(dim=0).abs().max() < 0.08
    assert (found.null_z.std(dim=0) - 1).abs().max() < 0.06


def test_group_loadings_permutes_within_strata_only():
    strata = torch.tensor([0] * 10 + [1] * 10)
    values = torch.cat([uniform(10, 1), 100 + uniform(10, 1)])
    groups = (torch.arange(20) % 2).long()
    found = group_loadings(values, groups, strata, permutations=200, generator=seeded(0))
    # Both groups have five of each stratum: crossing strata would move the mean by tens, within them by less than one,
    # so that z would be far from anything of order one.
    assert found.null_z.abs().max() < 5 and found.z.abs().max() < 5
    assert (found.means - 50.5).abs().max() < 0.5


def test_group_loadings_of_all_components_share_each_permutation():
    values = uniform(20, 1).expand(20, 2).clone()
    found = group_loadings(
        values, torch.arange(20) % 3, torch.zeros(20, dtype=torch.long), permutations=50, generator=seeded(0)
    )
    # Equal but for the order of sums of 20 numbers, which a matrix product chooses by where its memory lies.
    torch.testing.assert_close(found.null_z[:, 0], found.null_z[:, 1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "groups",
    [pytest.param([0] * 8, id="one group"), pytest.param([0, 0, 0, 0, 1, 1, 1, 1], id="a group is its stratum")],
)
def test_group_loadings_is_zero_where_permutations_change_nothing(groups):
    strata = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    found = group_loadings(uniform(8, 2), torch.tensor(groups), strata, permutations=19, generator=seeded(0))
    assert not found.z.any() and not found.null_z.any()


def test_group_loadings_of_constant_magnitudes_is_zero():
    found = group_loadings(
        torch.full((9, 1), 1 / 3, dtype=torch.float64),
        torch.arange(9) % 3,
        torch.zeros(9, dtype=torch.long),
        permutations=19,
        generator=seeded(0),
    )
    assert not found.z.any()


def test_adjusted_p_values_equal_step_down_written_out():
    observed, null = uniform(2, 3), uniform(40, 2, 3, seed=1)
    flat, columns = observed.flatten(), null.flatten(1)
    slow, largest = torch.empty(6, dtype=torch.float64), 0.0
    for place, test in enumerate(order := flat.argsort(descending=True)):
        rest = columns[:, order[place:]].amax(dim=1)
        largest = max(largest, (1 + int((rest >= flat[test]).sum())) / 41)
        slow[test] = largest
    assert adjusted_p_values(observed, null).flatten().tolist() == slow.tolist()


def test_adjusted_p_values_of_one_test_are_plain_permutation_p_values():
    null = uniform(99, 1)
    observed = torch.tensor([0.9], dtype=torch.float64)
    assert adjusted_p_values(observed, null).item() == (1 + int((null >= 0.9).sum())) / 100


def test_adjusted_p_values_can_be_small_with_more_tests_than_permutations():
    null = torch.randn(199, 1000, generator=seeded(0), dtype=torch.float64)
    observed = torch.randn(1000, generator=seeded(1), dtype=torch.float64)
    observed[7] = 9
    assert adjusted_p_values(observed, null)[7].item() == 1 / 200


def test_adjusted_p_values_count_ties_against_the_finding():
    assert adjusted_p_values(torch.zeros(3, dtype=torch.float64), torch.zeros(19, 3, dtype=torch.float64)).tolist() == [
        1,
        1,
        1,
    ]
