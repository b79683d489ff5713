# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from collections.abc import Callable

import pytest

from lightning_interp.capture import EveryNSteps, LogSpaced
from lightning_interp.capture.writer_cost import ENOUGH_CORES, Ticks, WriterCost, cores_free
from lightning_interp.capture.writer_cost import WINDOW_S as WRITER_WINDOW_S
from lightning_interp.monitor.budget import Contention, Overhead, SnapshotThrottle, ThinnedSchedule
from lightning_interp.monitor.budget.overhead import ALLOWANCE_S, ASSUMED, CAPTURE_ALLOWANCE_S, CATCH_UP_S, FOR_CAPTURE
from lightning_interp.monitor.budget.snapshot_pacing import LONGEST_BETWEEN_LOOKS_S


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_share_is_hook_time_over_wall_time():
    clock = Clock()
    overhead = Overhead(0.02, clock=clock)
    overhead.spend(0.5)
    clock.now += 100.0
    assert overhead.hook_share == pytest.approx(0.005)
    assert overhead.share == overhead.hook_share


def test_time_beside_the_analyzer_counts_as_assumed_until_it_is_known():
    clock = Clock()
    overhead = Overhead(0.02, clock=clock)
    clock.now += 10.0
    overhead.spend_beside_analyzer(10.0)
    assumed = 10 * ASSUMED / (1 + ASSUMED)
    assert overhead.in_contention == pytest.approx(assumed)
    overhead.contention = 0.25  # steps take 1.25 times as long: a fifth of the time is lost
    overhead.spend_beside_analyzer(10.0)
    assert overhead.in_contention == pytest.approx(assumed + 2.0)
    overhead.contention = 0.0
    overhead.spend_beside_analyzer(10.0)
    assert overhead.in_contention == pytest.approx(assumed + 2.0)
    assert overhead.beside_analyzer == 30.0


def test_capturing_has_room_that_the_analyzer_may_not_use_up():
    clock = Clock()
    overhead = Overhead(0.02, clock=clock)
    overhead.contention = 0.25
    assert overhead.affords_analyzer
    overhead.spend_beside_analyzer(5 * ALLOWANCE_S + 0.01)  # a fifth is lost
    assert not overhead.affords_analyzer and overhead.affords_snapshot()
    clock.now += 1.0
    assert overhead.affords_analyzer


def test_analysis_is_affordable_where_it_can_catch_up_in_as_much_time_again():
    clock = Clock()
    overhead = Overhead(0.02, clock=clock)
    overhead.contention = 0.25
    seconds = 5 * (0.02 * CATCH_UP_S + ALLOWANCE_S)  # a fifth of them is lost
    assert overhead.affords_snapshot(to_analyze_s=0.99 * seconds)
    assert not overhead.affords_snapshot(to_analyze_s=1.01 * seconds)
    clock.now += 10 * CATCH_UP_S
    seconds = 5 * (0.02 * 20 * CATCH_UP_S + ALLOWANCE_S)
    assert overhead.affords_snapshot(to_analyze_s=0.99 * seconds)
    assert not overhead.affords_snapshot(to_analyze_s=1.01 * seconds)


def test_a_faster_step_beside_the_analyzer_gives_no_credit():
    overhead = Overhead(0.02)
    overhead.contention = -0.1
    overhead.spend_beside_analyzer(10.0)
    assert overhead.in_contention == 0.0


def test_affords_snapshots_until_allowance_and_share_are_spent():
    clock = Clock()
    overhead = Overhead(0.02, clock=clock)
    overhead.note_snapshot(0.1)
    overhead.spend(CAPTURE_ALLOWANCE_S)
    assert not overhead.affords_snapshot()
    clock.now += 5.01 / FOR_CAPTURE  # 2 % of 5 s is one more snapshot
    assert overhead.affords_snapshot()


def test_thinning_spaces_steps_evenly_in_log_step():
    schedule = ThinnedSchedule(EveryNSteps(10))
    assert list(schedule.steps_until(50)) == [0, 10, 20, 30, 40, 50]
    for _ in range(5):
        schedule.thin()  # .04, .08, .16, .32, and no more
    assert list(schedule.steps_until(300)) == [0, 10, 20, 30, 40, 60, 80, 110, 150, 200, 270]


def test_relaxing_undoes_thinning():
    schedule = ThinnedSchedule(EveryNSteps(10))
    for _ in range(20):
        schedule.thin()
    for _ in range(20):
        schedule.relax()
    assert schedule.spacing == 0.0 and repr(schedule) == repr(EveryNSteps(10))


def test_thinning_never_adds_steps():
    schedule = ThinnedSchedule(LogSpaced(10_000))
    full = set(schedule.steps_until(10_000))
    schedule.thin()
    thinned = set(schedule.steps_until(10_000))
    assert thinned < full


def cores(clock: Clock, *, free: float) -> Callable[[], Ticks]:
    """Two cores, each free for that share of the time."""
    return lambda: {name: (int(100 * free * clock.now), int(100 * clock.now)) for name in ("cpu0", "cpu1")}


def pace(
    clock: Clock,
    notes: list[tuple[str, dict]],
    *,
    limit: float = 0.02,
    ticks: Callable[[], Ticks | None] | None = None,
    contention: Contention | None = None,
) -> SnapshotThrottle:
    """All cores are free unless told otherwise, and nothing can be halted."""
    return SnapshotThrottle(
        EveryNSteps(1),
        limit=limit,
        contention=contention or Contention(lambda: False, lambda: None),
        note=lambda event, **fields: notes.append((event, fields)),
        writer=WriterCost(ticks or cores(clock, free=1.0), clock=clock),
        clock=clock,
    )


def follow(kept: SnapshotThrottle, clock: Clock, *, steps: int, costs: Callable[[int], float]) -> list[int]:
    """Steps of which a snapshot was taken, in a training of .01 s a step; a snapshot costs what is said of its step."""
    taken, due = [], 0
    for step in range(steps):
        clock.now += 0.01
        if step >= due:
            if kept.may_take(step, waiting=0):
                kept.overhead.note_snapshot(costs(step))
                kept.overhead.spend(costs(step))
                taken.append(step)
            due = kept.schedule.next_after(step)
    return taken


def test_pace_thins_and_notes_it_where_snapshots_are_too_dear():
    clock, notes = Clock(), []
    kept = pace(clock, notes)
    taken = follow(kept, clock, steps=2000, costs=lambda _: 0.02)
    assert kept.overhead.hook_share <= FOR_CAPTURE * 0.02 + CAPTURE_ALLOWANCE_S / 20
    assert len(taken) > 10
    assert [event for event, _ in notes] == ["thinned"] * len(notes) and notes
    assert "thinned to" in kept.summary()


def write(kept: SnapshotThrottle, clock: Clock, seconds: float) -> None:
    kept._writer.begin()
    clock.now += seconds
    kept._writer.wrote(seconds)


@pytest.mark.parametrize("told", [True, False], ids=["busy", "unknown"])
def test_pace_thins_where_writing_takes_the_trainings_cores(told: bool):
    clock, notes = Clock(), []
    kept = pace(clock, notes, ticks=cores(clock, free=0.0) if told else lambda: None)
    taken = due = 0
    for step in range(2000):
        clock.now += 0.01
        if step >= due:
            if kept.may_take(step, waiting=0):
                write(kept, clock, 0.02)
                taken += 1
            due = kept.schedule.next_after(step)
    seconds = clock.now - 100.0
    assert taken > 10 and taken * 0.02 <= FOR_CAPTURE * 0.02 * seconds + CAPTURE_ALLOWANCE_S + 2 * WRITER_WINDOW_S
    assert kept.overhead.hook_share == 0.0
    kept.stop()
    assert "for writing on cores that were all busy" in kept.summary()


def test_writing_is_free_where_a_core_is():
    clock, notes = Clock(), []
    kept = pace(clock, notes)
    for step in range(2000):
        clock.now += 0.01
        assert kept.may_take(step, waiting=0)
        write(kept, clock, 0.02)
    assert kept.overhead.share == 0.0 and not notes


def test_writing_counts_in_part_where_cores_are_free_at_times():
    clock = Clock()
    cost = WriterCost(cores(clock, free=ENOUGH_CORES / 8), clock=clock)
    cost.begin()
    clock.now += 10 * WRITER_WINDOW_S
    cost.wrote(0.1)
    assert cost.taken_s == pytest.approx(0.075, rel=0.02)


def test_a_write_is_judged_by_the_time_around_it():
    clock = Clock()
    busy = cores(clock, free=0.0)
    cost = WriterCost(busy, clock=clock)
    clock.now += 1000.0
    cost.begin()
    clock.now += 0.01
    cost.wrote(0.01)
    assert cost.taken_s == 0.0, "too early to tell"
    clock.now += WRITER_WINDOW_S
    cost.settle()
    clock.now += 1000.0
    cost.settle()
    assert cost.taken_s == pytest.approx(0.01)


def test_cores_that_come_and_go_and_counters_that_jump_take_nothing_away():
    before = {"cpu0": (100, 200), "cpu1": (10**6, 2 * 10**6), "cpu2": (50, 100)}
    assert cores_free(before, {"cpu0": (150, 300)}) == 0.5
    assert cores_free(before, {"cpu0": (90, 300), "cpu2": (50, 100), "cpu7": (10**9, 10**9)}) == 0.0
    assert cores_free(before, {"cpu0": (900, 300)}) == 1.0
    assert cores_free(None, before) == cores_free(before, None) == 0.0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_a_core_kept_busy_is_not_free():
    code = (
        "import os, time; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from lightning_interp.capture.writer_cost import core_ticks, cores_free;"
        "before = core_ticks(); end = time.monotonic() + 1;"
        "exec('while time.monotonic() < end: pass');"
        "print(cores_free(before, core_ticks()))"
    )
    share = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 0.0 <= share < 0.9, "at most a part of the core was left to others' niced work"


def test_pace_counts_the_checks_of_steps_without_a_snapshot():
    clock, notes = Clock(), []
    kept = pace(clock, notes)
    for look in range(1, 100):
        clock.now += 0.5
        kept.look(look * 1000, check_s=1e-6, observed=look * 1000, waiting=0)
    # 98 intervals of 1,000 steps at a microsecond each, over 49.5 s
    assert kept.overhead.hook_share == pytest.approx(98 * 1e-3 / 49.5, rel=1e-6)
    assert [event for event, _ in notes] == ["overhead"]


def test_pace_thins_where_the_analyzer_cannot_catch_up():
    """Every snapshot keeps the analyzer busy for 2 s, in which steps take a quarter longer: .4 s lost for each."""
    clock, notes, halted = Clock(), [], [False]

    def pause() -> bool:
        halted.append(True)
        return True

    kept = pace(clock, notes, contention=Contention(pause, lambda: halted.append(False)))
    taken: list[int] = []
    observed, work_s, step, due = -1, 0.0, 0, 0
    while clock.now < 100.0 + 600.0:
        step += 1
        busy = bool(taken) and observed < taken[-1] and not halted[-1]
        clock.now += 0.25 if busy else 0.2
        work_s += 0.25 * busy
        if work_s >= 2.0:
            work_s, observed = 0.0, next(one for one in taken if one > observed)
        if step >= due:
            if kept.may_take(step, waiting=0):
                kept.captured(step)
                taken.append(step)
            due = kept.schedule.next_after(step)
        kept.look(step, check_s=1e-6, observed=observed, waiting=0)
    lost = clock.now - 100.0 - step * 0.2
    assert lost <= 0.02 * 600.0 + ALLOWANCE_S, "within the budget"
    analyzed = sum(one <= observed for one in taken)
    assert analyzed >= 25 and len(taken) - analyzed <= 30, "30 are affordable; the others are done in as much time again"
    assert "steps 25.0% slower while the analyzer works (" in kept.summary()


def test_pace_takes_more_again_once_there_is_room():
    clock = Clock()
    kept = pace(clock, [])
    taken = follow(kept, clock, steps=20_000, costs=lambda step: 0.1 if step < 2000 else 0.0001)  # another program was busy
    early, late = sum(step < 2000 for step in taken), sum(step >= 10_000 for step in taken)
    assert early < 20 and late > 5000


def test_a_long_gap_between_two_looks_is_not_all_the_analyzers():
    clock, notes = Clock(), []
    kept = pace(clock, notes)
    kept.look(1, check_s=0.0, observed=-1, waiting=0)
    for step, gap in ((2, 900.0), (3, 0.5), (4, 900.0)):
        clock.now += gap
        kept.captured(step)
        kept.look(step, check_s=0.0, observed=-1, waiting=0)
    # In the first gap there was nothing to analyze, in the second something for half a second, in the third for ten at most.
    assert kept.overhead.beside_analyzer == pytest.approx(0.5 + LONGEST_BETWEEN_LOOKS_S)
