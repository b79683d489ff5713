# SPDX-License-Identifier: Apache-2.0
"""The figure that is drawn while the training runs: when, of what, and what it may cost."""

from types import SimpleNamespace
from typing import Any

import pytest

from lightning_interp.core.records import Record
from lightning_interp.core.timeline import Timeline
from lightning_interp.dashboards.loggers import live_figure
from lightning_interp.dashboards.loggers.live_figure import LiveFigure
from lightning_interp.store import Manifest

MANIFEST = Manifest("abc", "2026-01-01T00:00:00+00:00", (), (), (), "pkg.Net", {}, {})
JUDGED = Timeline("unknown", intensities={"memorization": ((0, 0.0), (30, 1.0))})
SHARE = 0.01


class Clock:
    """Time that a test moves; each drawing takes `cost` seconds of a thread's time."""

    def __init__(self) -> None:
        self.now, self.busy, self.cost = 0.0, 0.0, 0.0

    def monotonic(self) -> float:
        return self.now

    def thread_time(self) -> float:
        self.busy += self.cost
        return self.busy


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(live_figure, "time", SimpleNamespace(monotonic=clock.monotonic, thread_time=clock.thread_time))
    return clock


@pytest.fixture
def figure(clock: Clock) -> LiveFigure:
    """One that makes nothing of what plotly drew."""
    return LiveFigure("run", MANIFEST, lambda drawn: drawn, share=SHARE)


def losses(step: int) -> Record:
    return Record(step, 0, {"train_loss": 4.0 - step / 100, "heldout_loss": 4.0, "hoyer": 0.5})


def drawn_at(figure: LiveFigure, clock: Clock, now: float) -> Any:
    clock.now = now
    figure.draw_if_due(JUDGED)
    return figure.take()


def test_live_figure_draws_the_losses_of_every_record_so_far(figure: LiveFigure, clock: Clock) -> None:
    for step in (0, 10, 20):
        figure.add(losses(step))
    step, drawn = drawn_at(figure, clock, 61.0)
    assert step == 20
    line = next(trace for trace in drawn.data if trace.name == "train loss")
    assert list(line.y) == [4.0, 3.9, 3.8]
    assert "run" in drawn.layout.title.text


def test_live_figure_draws_nothing_in_the_first_minute(figure: LiveFigure, clock: Clock) -> None:
    figure.add(losses(0))
    assert drawn_at(figure, clock, 59.0) is None
    assert drawn_at(figure, clock, 60.0) is not None


def test_live_figure_is_handed_over_once(figure: LiveFigure, clock: Clock) -> None:
    figure.add(losses(0))
    assert drawn_at(figure, clock, 61.0) is not None and figure.take() is None


def test_live_figure_waits_for_a_tenth_of_the_time_elapsed(figure: LiveFigure, clock: Clock) -> None:
    figure.add(losses(0))
    drawn_at(figure, clock, 1000.0)
    figure.add(losses(10))
    assert drawn_at(figure, clock, 1099.0) is None
    assert drawn_at(figure, clock, 1101.0) is not None


def test_live_figure_waits_until_its_cost_is_within_its_share(figure: LiveFigure, clock: Clock) -> None:
    clock.cost = 5.0
    figure.add(losses(0))
    drawn_at(figure, clock, 100.0)
    figure.add(losses(10))
    assert drawn_at(figure, clock, 100.0 + 5.0 / SHARE - 1) is None
    assert drawn_at(figure, clock, 100.0 + 5.0 / SHARE + 1) is not None


def test_live_figure_is_not_drawn_again_without_a_new_record(figure: LiveFigure, clock: Clock) -> None:
    figure.add(losses(0))
    drawn_at(figure, clock, 100.0)
    assert drawn_at(figure, clock, 10_000.0) is None


def test_live_figure_of_a_run_without_losses_is_none_and_no_failure(
    figure: LiveFigure, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    figure.add(Record(0, 0, {"weight_norm": 3.0}))
    assert drawn_at(figure, clock, 100.0) is None and not caplog.records


def test_live_figure_that_fails_is_told_once(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_: Any) -> Any:
        raise ValueError("no room")

    figure = LiveFigure("run", MANIFEST, refuse, share=SHARE)
    for number in range(3):
        figure.add(losses(number))
        assert drawn_at(figure, clock, 100.0 * 2**number) is None
    (record,) = caplog.records
    assert "could not be drawn (ValueError: no room)" in record.message
