# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_interp.capture import EveryNSteps, LogSpaced, Schedule
from lightning_interp.core.errors import ConfigError


class Powers(Schedule):
    """A schedule of a user's own: 1, 2, 4, 8, ..."""

    def next_after(self, step: int) -> int:
        return 1 if step < 1 else 2 ** step.bit_length()


SCHEDULES = {
    "every": lambda: EveryNSteps(7),
    "log": LogSpaced,
    "log of a known length": lambda: LogSpaced(1_234),
    "user's": Powers,
}


def test_log_spaced_begins_with_the_first_updates():
    assert list(LogSpaced().steps_until(10)) == [0, 1, 2, 5, 10]


def test_log_spaced_goes_on_by_four_percent_of_the_step():
    steps = [step for step in LogSpaced().steps_until(5_000) if step >= 10]
    assert [b - a for a, b in pairwise(steps)] == [max(1, int(0.04 * a)) for a in steps[:-1]]


@pytest.mark.parametrize("max_steps", [30, 150, 199, 1_000, 20_000])
def test_log_spaced_is_no_denser_than_a_hundredth_of_the_run(max_steps):
    steps = [step for step in LogSpaced(max_steps).steps_until(max_steps) if step >= 10]
    assert all(b - a >= max_steps / 100 for a, b in pairwise(steps))


def test_log_spaced_answers_the_same_in_any_order_of_questions():
    asked_late = LogSpaced()
    asked_late.next_after(10_000)
    assert list(asked_late.steps_until(2_000)) == list(LogSpaced().steps_until(2_000))


def test_every_n_steps_takes_step_zero_and_multiples():
    assert list(EveryNSteps(4).steps_until(12)) == [0, 4, 8, 12]


@pytest.mark.parametrize("bad", [0, -1, True])
def test_every_n_steps_refuses_what_is_no_positive_integer(bad):
    with pytest.raises(ConfigError, match="every_n_steps: expected a positive integer"):
        EveryNSteps(bad)


@pytest.mark.parametrize("name", SCHEDULES)
@given(previous=st.integers(-1, 3_000), jump=st.integers(0, 400))
def test_due_is_true_exactly_when_a_scheduled_step_lies_between(name, previous, jump):
    current = previous + jump
    scheduled = list(SCHEDULES[name]().steps_until(current))
    assert SCHEDULES[name]().due(previous, current) == any(previous < step <= current for step in scheduled)


def test_due_sees_a_step_that_was_jumped_over():
    assert EveryNSteps(100).due(98, 103)


def test_due_is_false_where_the_step_did_not_move():
    assert not EveryNSteps(1).due(5, 5)


def test_schedule_of_a_users_own_needs_next_after_only():
    assert list(Powers().steps_until(20)) == [1, 2, 4, 8, 16]


def test_schedule_repr_says_when_snapshots_come():
    assert repr(LogSpaced(20_000)) == "steps 0, 1, 2, 5, 10, then every 4% of the step, at least 200 apart"
    assert repr(EveryNSteps(50)) == "every 50 steps"
