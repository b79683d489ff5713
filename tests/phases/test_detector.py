# SPDX-License-Identifier: Apache-2.0
"""The online detector: causal, stable, fast, and the same as the fold over a finished history."""

import itertools
import math
import random
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_interp.core.errors import MetricsError
from lightning_interp.core.timeline import INTENSITY_NAMES
from lightning_interp.phases import PhaseDetector, detect_phases, detector
from lightning_interp.phases.detector import fold


@pytest.fixture(scope="module", params=["reference", "grokking", "collapsing", "random_labels", "partial"])
def table(request, histories):
    return histories.noisy(getattr(histories, request.param)(), 0.02, seed=3)


@pytest.fixture(scope="module")
def online(table):
    """What the online detector said after each record, once for all tests: run-time type checks make it slow."""
    return [timeline for _, timeline in fold(table)]


@pytest.mark.parametrize("kind", ["reference", "grokking"])
def test_detect_phases_of_a_truncated_history_is_what_was_said_online(histories, kind):
    clean = histories.reference() if kind == "reference" else histories.grokking(steps=range(0, 20_001, 250))
    table = histories.noisy(clean, 0.02, seed=3)
    online = [timeline for _, timeline in fold(table)]
    for index in range(9, len(online), 10):
        cut = {name: column[: index + 1] for name, column in table.items()}
        assert replace(detect_phases(cut), stages=()) == online[index]


def test_phases_once_emitted_keep_name_and_start(online):
    before = []
    for timeline in online:
        now = [(phase.name, phase.start) for phase in timeline.phases]
        assert now[: len(before)] == before
        before = now


def test_boundaries_once_emitted_do_not_move(online):
    ends = {}
    for timeline in online:
        for index, phase in enumerate(timeline.phases):
            if phase.end is not None:
                assert ends.setdefault(index, (phase.end, phase.end_interval)) == (phase.end, phase.end_interval)


def test_phases_are_contiguous_and_increasing(online):
    phases = online[-1].phases
    assert all(a.end == b.start and a.start < b.start for a, b in itertools.pairwise(phases))


def test_intervals_hold_their_boundaries(online):
    assert all(p.start_interval[0] <= p.start <= p.start_interval[1] for p in online[-1].phases)


def test_labels_do_not_flip(online):
    names = [phase.name for phase in online[-1].phases]
    assert len(names) == len(set(names))


def test_intensities_have_one_value_in_the_unit_interval_for_each_update(online, table):
    intensities = online[-1].intensities
    steps = [[step for step, _ in points] for points in intensities.values()]
    inside = all(0 <= value <= 1 for points in intensities.values() for _, value in points)
    assert (inside, steps) == (True, [table["step"]] * len(INTENSITY_NAMES))


def test_long_histories_keep_their_intensities_in_few_points(monkeypatch):
    rng = random.Random(0)
    rows = [(step, {"train_loss": 3 / (1 + step / 500) + 0.1 * rng.random()}) for step in range(0, 60_000, 10)]
    few, every = PhaseDetector(n_classes=10), PhaseDetector(n_classes=10)
    for step, values in rows:
        few.update(step, values)
    monkeypatch.setattr(detector, "EVERY_POINT", len(rows))
    for step, values in rows:
        every.update(step, values)
    counts = {name: len(points) for name, points in few.timeline.intensities.items()}
    assert max(counts.values()) < 0.5 * len(rows) == 0.5 * len(every.timeline.intensities["cleanup"])
    for name, points in every.timeline.intensities.items():
        assert [few.timeline.intensity(name, step) for step, _ in points[:3000:7]] == [value for _, value in points[:3000:7]]
        assert few.timeline.intensities[name][-1] == points[-1]
    assert math.isnan(few.timeline.intensity("cleanup", -1))


@settings(max_examples=4, deadline=None)
@given(factor=st.integers(1, 1000))
def test_boundaries_scale_with_the_steps(histories, factor):
    table = histories.reference(("train_loss", "heldout_loss"))
    scaled = detect_phases(table | {"step": [step * factor for step in table["step"]]})
    assert [p.start for p in scaled.phases] == [p.start * factor for p in detect_phases(table).phases]


@settings(max_examples=20, deadline=None)
@given(
    values=st.lists(
        st.tuples(st.floats(allow_nan=True, allow_infinity=True, width=32), st.floats(allow_nan=True, allow_infinity=True)),
        max_size=60,
    )
)
def test_update_survives_any_numbers(values):
    detector = PhaseDetector()
    for step, (train, heldout) in enumerate(values):
        detector.update(step, {"train_loss": train, "heldout_loss": heldout})
        assert detector.timeline.verdict


def test_update_refuses_steps_that_do_not_increase():
    detector = PhaseDetector()
    detector.update(5, {"train_loss": 1.0})
    with pytest.raises(MetricsError, match="got 5 after 5"):
        detector.update(5, {"train_loss": 1.0})


def test_update_changes_nothing_when_it_refuses():
    detector = PhaseDetector()
    detector.update(5, {"train_loss": 1.0})
    before = detector.timeline
    with pytest.raises(MetricsError):
        detector.update(6, {"train_loss": 0.5, "train_accuracy": 50.0})
    assert detector.timeline == before


def test_detector_refuses_one_class():
    with pytest.raises(MetricsError, match="`n_classes` must be 2 or more"):
        PhaseDetector(n_classes=1)


TIMED = """
import time
from lightning_interp.phases import detect_phases
steps = list(range(100_000))
falling, rising = [5.0 / (1 + step / 100) for step in steps], [5.0 + step / 1e5 for step in steps]
began = time.process_time()
detect_phases({"train_loss": (steps, falling), "heldout_loss": (steps, rising)})
print(time.process_time() - began)
"""


def test_detect_phases_takes_about_a_second_for_100000_records():
    # in a process of its own, without the run-time type checks of the tests; .6 s on an idle core; in quadratic
    # time it would be minutes
    done = subprocess.run([sys.executable, "-c", TIMED], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 6.0


def test_importing_phases_loads_neither_torch_nor_lightning():
    heavy = "('torch', 'lightning', 'wandb', 'numpy')"
    code = f"import sys, lightning_interp.phases; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def irregular_history(seed: int, *, records: int = 3000) -> dict[str, tuple[list[int], list[float]]]:
    """Series logged at cadences of their own, some of whose losses are not finite for a while."""
    draw = random.Random(seed)
    names = ("train_loss", "heldout_loss", "train_accuracy", "heldout_accuracy", "weight_norm", "heldout_percentile_z")
    found = {}
    for name in names:
        steps = sorted(draw.sample(range(2 * records), records // draw.choice((1, 2, 7))))
        values = [abs(draw.gauss(1, 0.3)) / (1 + step / 500) for step in steps]
        values = [min(1.0, 1 - value / 3) for value in values] if name.endswith("accuracy") else values
        for hole in draw.sample(range(len(values)), 4):
            bad = [math.nan, math.nan if name.endswith("accuracy") else math.inf, math.nan]
            values[hole : hole + 3] = bad[: len(values[hole : hole + 3])]
        found[name] = steps, values
    return found


@pytest.mark.parametrize("seed", [0, 1, 2, *(pytest.param(seed, marks=pytest.mark.verify) for seed in (3, 4, 5))])
def test_many_records_at_once_are_the_same_as_one_by_one(seed):
    history = irregular_history(seed)
    (_, one_by_one), *_ = [*fold(history)][-1:]
    assert replace(detect_phases(history), stages=()) == one_by_one


def test_an_accuracy_over_one_is_refused_wherever_it_stands():
    steps, values = list(range(500)), [0.5] * 500
    values[333] = 1.5
    with pytest.raises(MetricsError, match=r"train_accuracy.*1\.5 at step 333"):
        detect_phases({"train_accuracy": (steps, values)})
