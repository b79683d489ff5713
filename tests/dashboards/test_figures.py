# SPDX-License-Identifier: Apache-2.0
"""The phase figure: what is drawn where, escaped, and self-contained."""

from pathlib import Path

import pytest

from lightning_interp.core.timeline import PHASE_NAMES, Phase, Timeline
from lightning_interp.dashboards.figures import phase_timeline_figure, step_offset, write_html
from lightning_interp.dashboards.figures.thinning import MAX_POINTS
from lightning_interp.dashboards.figures.time_axis import tick_steps
from lightning_interp.phases import detect_phases
from lightning_interp.sources.metrics.history import read_metrics

REFERENCE = Path(__file__).parents[1] / "data" / "modular_addition_p113.csv"


@pytest.fixture(scope="module")
def history():
    return read_metrics(REFERENCE)


@pytest.fixture(scope="module")
def figure(history):
    return phase_timeline_figure(history.series, detect_phases(history.series), title="p = 113")


def trace(figure, name):
    return next(trace for trace in figure.data if trace.name == name)


def test_phase_timeline_figure_draws_losses_and_intensities(figure):
    assert [t.name for t in figure.data] == [
        "train loss",
        "held-out loss",
        "restricted loss (held-out)",
        "memorization",
        "circuit formation",
        "cleanup",
        "early warning",
    ]


def test_phase_timeline_figure_names_units(figure):
    titles = (figure.layout.yaxis.title.text, figure.layout.yaxis2.title.text, figure.layout.xaxis2.title.text)
    assert titles == ("loss (nats)", "intensity (0 to 1)", "optimizer step")


def test_phase_timeline_figure_keeps_the_true_step_beside_the_position(figure, history):
    line = trace(figure, "held-out loss")
    offset = step_offset(history.series)
    assert [x - offset for x in line.x] == list(line.customdata) == history.series["heldout_loss"][0]


def test_phase_timeline_figure_shades_every_phase_in_both_panels(figure):
    assert sum(shape.type == "rect" for shape in figure.layout.shapes) == 2 * 5


def test_phase_timeline_figure_bars_span_the_interval_of_each_boundary(figure, history):
    offset = step_offset(history.series)
    bars = [(s.x0 - offset, s.x1 - offset) for s in figure.layout.shapes if s.yref == "paper" and s.line.width == 5]
    assert bars == [phase.end_interval for phase in detect_phases(history.series).phases if phase.end_interval]


def test_phase_timeline_figure_toggles_both_axes(figure):
    labels = [[button.label for button in menu.buttons] for menu in figure.layout.updatemenus]
    assert labels == [["y log", "y linear"], ["x log", "x linear"]]


def test_phase_timeline_figure_draws_errors_where_there_is_no_loss(history):
    series = {name: points for name, points in history.series.items() if name.endswith("accuracy")}
    figure = phase_timeline_figure(series, Timeline("unknown"), title="")
    assert trace(figure, "held-out error").y[0] == 1 - history.series["heldout_accuracy"][1][0]


def test_phase_timeline_figure_of_nothing_says_so():
    figure = phase_timeline_figure({}, Timeline("unknown"), title="empty")
    assert "no phase found yet" in [annotation.text for annotation in figure.layout.annotations]


def test_phase_timeline_figure_thins_long_curves():
    steps = list(range(50_000))
    figure = phase_timeline_figure({"train_loss": (steps, [1.0] * 50_000)}, Timeline("unknown"), title="")
    line = trace(figure, "train loss")
    assert len(line.x) <= MAX_POINTS and line.customdata[-1] == 49_999


def test_phase_timeline_figure_escapes_what_comes_from_a_run():
    hostile = "<script>alert(1)</script>"
    phase = Phase(hostile, 0, 5, 0.5, (0, 0), (4, 6))
    text = phase_timeline_figure({}, Timeline(hostile, (phase,)), title=hostile).to_json()
    assert "<script>" not in text and "\\u003cscript" not in text


@pytest.mark.parametrize("name", PHASE_NAMES)
def test_every_phase_has_a_color_of_its_own(name):
    from lightning_interp.dashboards.theme import PHASE_COLORS

    assert list(PHASE_COLORS.values()).count(PHASE_COLORS[name]) == 1


def test_write_html_needs_no_network(figure, tmp_path):
    write_html(figure, tmp_path / "f.html")
    text = (tmp_path / "f.html").read_text(encoding="utf-8")
    assert "cdn.plot.ly" not in text.split("<body>")[1].split("Plotly.newPlot")[-1] and '<script src="http' not in text


@pytest.mark.parametrize("last", [0, 1, 9, 100, 16_000, 10**6, 10**9])
def test_tick_steps_are_few_increasing_and_begin_at_zero(last):
    ticks = tick_steps(last)
    assert ticks[0] == 0 and ticks == sorted(set(ticks)) and len(ticks) <= 14 and ticks[-1] <= last
