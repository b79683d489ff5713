# SPDX-License-Identifier: Apache-2.0
"""The recommendation, from tables made by hand."""

import math

import pytest
import torch

from lightning_interp.tca.cp import CPFit
from lightning_interp.tca.heldout import HeldoutErrors
from lightning_interp.tca.selection import recommend


def fits(ranks, flags=()):
    one = {r: (torch.ones(r), tuple(torch.ones(3, r) for _ in range(3))) for r in ranks}
    return {r: CPFit(*one[r], 0.1, True, 10, tuple(flag for rank, flag in flags if rank == r)) for r in ranks}


def table(similarity, consistency=90.0):
    return [
        {"rank": r, "relative_error": 1 / r, "similarity": s, "core_consistency": consistency, "heldout_error": None}
        for r, s in similarity.items()
    ]


def heldout(errors, standard_error=0.0):
    return HeldoutErrors(errors, dict.fromkeys(errors, standard_error), {r: (e,) for r, e in errors.items()})


STABLE = {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0}


def test_recommend_takes_the_rank_with_the_lowest_heldout_error():
    assert recommend(table(STABLE), fits(STABLE), heldout({1: 0.8, 2: 0.5, 3: 0.1, 4: 0.2}))[0] == 3


def test_recommend_takes_the_smallest_rank_within_a_percent():
    assert recommend(table(STABLE), fits(STABLE), heldout({1: 0.8, 2: 0.1005, 3: 0.1001, 4: 0.1}))[0] == 2


def test_recommend_takes_the_smallest_rank_within_a_standard_error():
    assert recommend(table(STABLE), fits(STABLE), heldout({1: 0.8, 2: 0.104, 3: 0.1, 4: 0.1}, 0.005))[0] == 2


def test_recommend_lowers_an_unstable_rank_to_a_stable_one_nearly_as_good():
    rows = table({1: 1.0, 2: 1.0, 3: 1.0, 4: 0.3})
    rank, reasons = recommend(rows, fits(STABLE), heldout({1: 0.8, 2: 0.5, 3: 0.103, 4: 0.1}))
    assert rank == 3
    assert any("lowered from 4 to 3: its restarts disagree (similarity 0.30" in reason for reason in reasons)


def test_recommend_does_not_lower_to_a_rank_that_predicts_worse():
    rows = table({1: 1.0, 2: 1.0, 3: 1.0, 4: 0.3})
    rank, reasons = recommend(rows, fits(STABLE), heldout({1: 0.8, 2: 0.5, 3: 0.2, 4: 0.1}))
    assert rank == 4
    assert any("read it with care" in reason for reason in reasons)


def test_recommend_lowers_a_degenerate_rank():
    flagged = fits(STABLE, flags=[(4, "degenerate")])
    rank, reasons = recommend(table(STABLE), flagged, heldout({1: 0.8, 2: 0.5, 3: 0.103, 4: 0.1}))
    assert (rank, any("nearly cancel" in reason for reason in reasons)) == (3, True)


def test_recommend_without_heldout_errors_takes_the_largest_stable_rank():
    assert recommend(table({1: 1.0, 2: 0.95, 3: 0.5, 4: 0.3}), fits(STABLE), None)[0] == 2


def test_recommend_without_heldout_errors_and_stability_takes_the_largest_rank_with_care():
    rank, reasons = recommend(table(dict.fromkeys(STABLE, 0.2)), fits(STABLE), None)
    assert (rank, any("read it with care" in reason for reason in reasons)) == (4, True)


def test_recommend_takes_a_rank_of_one_restart_as_stable():
    assert recommend(table(dict.fromkeys(STABLE)), fits(STABLE), None)[0] == 4


@pytest.mark.parametrize("flag", ["not_converged", "constant_slices"])
def test_recommend_tells_the_flags(flag):
    _, reasons = recommend(table({1: 1.0}), fits([1], flags=[(1, flag)]), None)
    assert f"flags of the fit: {flag}" in reasons


@pytest.mark.parametrize(("consistency", "verdict"), [(90.0, "consistent"), (12.0, "below 60")])
def test_recommend_tells_the_core_consistency(consistency, verdict):
    _, reasons = recommend(table({1: 1.0}, consistency), fits([1]), None)
    assert any(f"core consistency is {consistency:.0f} %" in reason and verdict in reason for reason in reasons)


def test_recommend_gives_a_reason_for_one_rank():
    rank, reasons = recommend(table({5: 0.9}), fits([5]), heldout({5: 0.3}))
    assert rank == 5
    assert reasons[0] == "rank 5 has the lowest held-out error, 0.3"


def test_recommend_without_similarity_says_no_number_that_is_none():
    _, reasons = recommend(table({1: None}, math.nan), fits([1]), None)
    assert not any("None" in reason for reason in reasons)


def test_recommend_takes_the_first_of_ranks_that_are_exact():
    assert recommend(table(STABLE), fits(STABLE), heldout({1: 0.4, 2: 9e-9, 3: 2e-10, 4: 5e-12}))[0] == 2


def test_recommend_tells_no_ranks_apart_by_rounding_where_nothing_is_held_out():
    rows = table(STABLE)
    for row, error in zip(rows, (8.8e-7, 4.1e-7, 1e-8, 1e-9), strict=True):
        row["relative_error"] = error
    assert recommend(rows, fits(STABLE), None)[0] == 1
