# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from lightning_interp.core.log_time import most_crowded, thinned
from lightning_interp.core.tca_settings import HISTORY, TCA
from lightning_interp.store.retention import Retention
from lightning_interp.tca import OnlineTCA, preprocess
from lightning_interp.tca.streaming_basis import StreamingBasis

FIBONACCI = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144)
EVEN = (0, 3, 8, 21, 55, 144)
distinct_steps = st.lists(st.integers(0, 10**6), min_size=2, max_size=60, unique=True).map(sorted)


def kept_by_thinned(steps: tuple[int, ...], most: int) -> list[int]:
    return [steps[place] for place in thinned(steps, most)]


def kept_on_disk(steps: tuple[int, ...], most: int) -> list[int]:
    gone = Retention("log").gives_up(dict.fromkeys(steps, 1), steps, excess=len(steps) - most)
    return [step for step in steps if step not in gone]


def kept_afterwards(steps: tuple[int, ...], most: int) -> list[int]:
    return list(preprocess(torch.ones(len(steps), 2, 2), steps, max_snapshots=most).steps)


def kept_in_a_basis(steps: tuple[int, ...], most: int) -> list[int]:
    basis = StreamingBasis(2)
    for step in steps:
        basis.add(step, torch.ones(2, 2))
    basis.thin(most)
    return basis.steps


def kept_live(steps: tuple[int, ...], most: int) -> list[int]:
    online = OnlineTCA([1], history=most)
    for step in steps:
        online.add(step, torch.ones(2, 2))
    return list(online.steps)


@pytest.mark.parametrize("keep", [kept_by_thinned, kept_on_disk, kept_afterwards, kept_in_a_basis, kept_live])
def test_all_that_thin_in_log_time_keep_the_same_steps(keep):
    assert keep(FIBONACCI, len(EVEN)) == list(EVEN)


@given(distinct_steps, st.integers(2, 65))
def test_thinned_keeps_both_ends_and_as_many_as_it_may_in_their_order(steps, most):
    kept = thinned(steps, most)
    assert len(kept) == min(most, len(steps))
    assert kept == sorted(set(kept)) and (kept[0], kept[-1]) == (0, len(steps) - 1)
    assert kept == thinned(tuple(steps), most)


@example(list(range(60)), 10, 30)
@given(distinct_steps, st.integers(2, 20), st.integers(2, 60))
def test_thinned_on_the_way_keeps_what_thinned_at_the_end_keeps(steps, most, stop):
    first = [steps[:stop][place] for place in thinned(steps[:stop], most)]
    rest = [*first, *steps[stop:]]
    assert [rest[place] for place in thinned(rest, most)] == [steps[place] for place in thinned(steps, most)]


@pytest.mark.parametrize("steps", [range(0, 10_001, 100), range(200), [2**k - 1 for k in range(20)]])
def test_thinned_leaves_steps_even_in_their_logarithm(steps):
    kept = [steps[place] for place in thinned(steps, 10)]
    marks = torch.tensor(kept, dtype=torch.float64).log1p()
    # Steps taken away one at a time leave gaps that differ: a gap doubles only while it is among the smallest. The first one
    # may be wide from the start, since nothing lies between 0 and the first step.
    assert float(marks.diff()[1:].max()) < 3 * float(marks[-1] - marks[1]) / 8


def test_thinned_keeps_the_early_ones_of_even_steps():
    assert thinned(range(0, 10_001, 100), 10)[:2] == [0, 1]


def test_most_crowded_is_the_earliest_of_several_and_of_those_that_may_go():
    steps = [0, 10, 11, 12, 1000, 1001, 1002]
    assert most_crowded(steps) == 5
    assert most_crowded(steps, {10, 11}) == 2
    assert most_crowded([0, 1, 1, 1, 1]) == 2  # gaps ln 2, 0, 0


def test_live_and_later_components_see_the_same_snapshots_of_one_run():
    steps = sorted({0, *(math.ceil(1.04**k) for k in range(260))})  # the default schedule's spacing, 25,800 steps
    assert len(steps) > 3 * HISTORY
    online = OnlineTCA([1])
    for step in steps:
        online.add(step, torch.ones(2, 2))
    later = preprocess(torch.ones(len(steps), 2, 2), steps)
    assert online.steps == later.steps
    assert len(later.steps) == TCA().history == HISTORY
