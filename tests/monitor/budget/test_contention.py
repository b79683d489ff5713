# SPDX-License-Identifier: Apache-2.0
import random
import statistics

import pytest

from lightning_interp.monitor.budget import Contention
from lightning_interp.monitor.budget.contention import LEAST_STEPS, LONGEST_HALT_S, LONGEST_WINDOW_S, MOST_HALTED, WINDOW_S
from lightning_interp.monitor.budget.slow_down import ENOUGH_PAIRS, LEAST_PAIRS, SlowDown


class Training:
    """Steps whose speed depends on whether the analyzer is halted, and looks at them.

    Args:
        alone: Steps per second while it is halted.
        beside: Steps per second while it works.
        first_s: Seconds before the first measurement.
        tick: Seconds from one look to the next.
    """

    def __init__(self, *, alone: float, beside: float, first_s: float = 1.0, tick: float = 0.05) -> None:
        self.alone, self.beside, self.tick = alone, beside, tick
        self.now, self.steps = 0.0, 0.0
        self.halted = [False]
        self.contention = Contention(self._pause, lambda: self.halted.append(False), first_s=first_s)

    def _pause(self) -> bool:
        self.halted.append(True)
        return True

    def go_on(self, seconds: float, *, may_work: bool = True, works: bool = True) -> tuple[int, float]:
        """Number of measurements that ended, and the share of the time in which the analyzer was halted."""
        ended, halted_s, until = 0, 0.0, self.now + seconds
        while self.now < until:
            self.now += self.tick
            self.steps += self.tick * (self.alone if self.halted[-1] else self.beside)
            halted_s += self.tick * self.halted[-1]
            ended += self.contention.look(self.now, int(self.steps), analyzer_works=works, may_work=may_work)
        return ended, halted_s / seconds


def test_contention_is_the_slow_down_between_turns():
    training = Training(alone=1000.0, beside=800.0)
    assert training.go_on(30)[0] == 1
    found = training.contention.slow_down
    assert found.slower == pytest.approx(0.25, rel=0.02)  # steps are counted whole, at looks 50 ms apart
    assert found.certain == pytest.approx(0.25, rel=0.05)
    assert found.interval[0] <= found.slower <= found.interval[1]


def test_a_measurement_leaves_the_analyzer_working():
    training = Training(alone=1000.0, beside=800.0)
    training.go_on(30)
    assert training.halted.count(True) == ENOUGH_PAIRS
    assert training.halted[-1] is False and not training.contention.halted


def test_an_idle_analyzer_is_left_alone():
    training = Training(alone=1000.0, beside=800.0)
    assert training.go_on(100, works=False, may_work=False) == (0, 0.0)


def test_a_measurement_goes_on_when_there_is_work_again():
    training = Training(alone=1000.0, beside=800.0)
    for _ in range(20):
        training.go_on(2, works=False)
        training.go_on(2)
    assert training.contention.slow_down.slower == pytest.approx(0.25, rel=0.02)


def test_an_analyzer_over_the_budget_works_one_turn_in_many():
    training = Training(alone=1000.0, beside=800.0, first_s=1e9)
    ended, halted = training.go_on(150, may_work=False)
    assert ended == 0 and halted == pytest.approx(MOST_HALTED / (MOST_HALTED + 1), abs=0.02)
    assert training.contention.slow_down.slower == pytest.approx(0.25, rel=0.02), "turns tell also where nothing is measured"
    assert training.go_on(20)[1] < 0.05, "the budget has room again"


def test_an_analyzer_beside_slow_steps_is_halted_for_less_than_its_limit():
    training = Training(alone=0.4, beside=0.4, first_s=1e9, tick=2.5)
    longest = in_a_row = 0
    for _ in range(1000):
        training.go_on(2.5, may_work=False)
        in_a_row = in_a_row + 1 if training.halted[-1] else 0
        longest = max(longest, in_a_row)
    assert 2.5 * longest == pytest.approx(min(LONGEST_HALT_S, MOST_HALTED * 2.5), abs=5.1)


def test_a_slow_down_that_begins_late_is_found():
    training = Training(alone=1000.0, beside=1000.0)
    training.go_on(1900)
    assert training.contention.slow_down.certain == 0.0
    training.beside = 770.0  # another program began
    training.go_on(700)
    assert training.contention.slow_down.certain == pytest.approx(0.3, abs=0.05)


def test_a_validation_in_between_is_no_slow_step():
    training = Training(alone=1000.0, beside=800.0)
    for _ in range(60):
        training.go_on(1.0)
        training.now += 30.0
    slower = training.contention.slow_down.slower
    assert slower is None or slower == pytest.approx(0.25, rel=0.1)


def test_steps_too_slow_to_compare_tell_nothing():
    rate = 0.5 * LEAST_STEPS / LONGEST_WINDOW_S
    training = Training(alone=rate, beside=rate)
    assert training.go_on(55)[0] == 0
    assert training.contention.slow_down.slower is None and training.halted == [False]


def test_slow_steps_make_long_turns():
    rate = 3.0 * LEAST_STEPS / LONGEST_WINDOW_S
    training = Training(alone=rate, beside=rate / 1.5)
    training.go_on(300)
    assert training.contention.slow_down.slower == pytest.approx(0.5, rel=0.3)


def test_contention_without_anything_to_halt_is_never_measured():
    contention = Contention(lambda: False, lambda: None, first_s=0.0)
    for tick in range(1000):
        assert not contention.look(tick * WINDOW_S, tick * LEAST_STEPS, analyzer_works=True, may_work=False)
    assert contention.slow_down.slower is None and not contention.halted


def test_stopping_lets_the_analyzer_go_on():
    training = Training(alone=1000.0, beside=800.0)
    training.go_on(1.2)
    assert training.halted[-1]
    training.contention.stop()
    assert not training.halted[-1] and not training.contention.halted


def test_few_pairs_say_nothing():
    found = SlowDown()
    for _ in range(LEAST_PAIRS - 1):
        found.add(100.0, 50.0)
    assert (found.slower, found.interval, found.certain) == (None, None, None)


def charged(true: float, *, noise: float) -> list[float]:
    """What is charged for many trainings whose turns vary by themselves, once it is known."""
    draw = random.Random(0)
    found = []
    for _ in range(300):
        slow_down = SlowDown()
        while not slow_down.known:
            slow_down.add(draw.gauss(1, noise), draw.gauss(1, noise) / (1 + true))
        found.append(slow_down.certain)
    return found


@pytest.mark.parametrize("noise", [0.02, 0.05, 0.1, 0.2])
def test_chance_is_seldom_charged_and_a_slow_down_as_it_is(noise: float):
    nothing = charged(0.0, noise=noise)
    assert sum(one > 0 for one in nothing) < 0.35 * len(nothing) and statistics.mean(nothing) < 0.025
    assert statistics.mean(charged(0.2, noise=noise)) == pytest.approx(0.2, abs=0.03)


def test_nothing_is_known_while_pairs_vary_too_much():
    found = SlowDown()
    for beside in (80.0, 120.0, 100.0):
        found.add(100.0, beside)
    assert not found.known and found.certain is None and found.slower == 0.0
    for _ in range(100):
        found.add(100.0, 100.0)
    assert found.known and found.certain == 0.0
