# SPDX-License-Identifier: Apache-2.0
"""The picture of several runs: what is drawn where, for 2 to 20 runs, escaped."""

import pytest
from compared_runs import STARTS, STEPS, phases

from lightning_interp.dashboards.figures import write_html
from lightning_interp.dashboards.figures.comparison import MOST_POINTS, RunCurves, comparison_figure

LOSSES = {"train_loss": (STEPS, [1.0] * len(STEPS)), "heldout_loss": (STEPS, [2.0] * len(STEPS))}
TIMES = {name: [2.0 * step for step in STEPS] for name in LOSSES}


def curves(name, **changes):
    parts = {"phases": phases(), "series": LOSSES, "phase_time": TIMES}
    return RunCurves(name, **(parts | changes))


@pytest.fixture(scope="module")
def figure():
    return comparison_figure([curves("a"), curves("b", phase_time={})], title="two")


def in_row(figure, row):
    axis = "x" if row == 1 else f"x{row}"
    return [trace for trace in figure.data if trace.xaxis == axis]


def test_curves_are_over_steps_above_and_in_phase_time_below(figure):
    above, below = in_row(figure, 1), in_row(figure, 3)
    assert [trace.name for trace in above] == ["a", "a", "b", "b"]
    # The offset is 1, since the first positive step is.
    assert [x - 1 for x in above[0].x] == list(STEPS)
    assert {trace.name for trace in below} == {"a"}
    assert [x - 1 for x in below[0].x] == TIMES["heldout_loss"]
    assert [step for step, _ in below[0].customdata] == list(STEPS)


def test_each_run_and_each_phase_is_in_the_legend_once(figure):
    shown = [trace.name for trace in figure.data if trace.showlegend]
    names = [name.replace("_", " ") for name in STARTS]
    assert shown == ["a", "b", *names, "where a boundary can lie"]


def test_bars_span_the_phases_and_marks_the_intervals(figure):
    bars = [trace for trace in in_row(figure, 2) if trace.name == "fitting"]
    assert [(trace.x[0] - 1, trace.x[1] - 1, trace.y[0]) for trace in bars] == [(10, 100, 0), (10, 100, 1)]
    marks = [trace for trace in in_row(figure, 2) if trace.legendgroup == "interval"]
    assert [x - 1 for x in marks[0].x] == [9, 10, 11]
    assert len(marks) == 2 * (len(STARTS) - 1)


def test_axes_have_units_and_name_the_reference(figure):
    layout = figure.layout
    assert (layout.yaxis.title.text, layout.yaxis3.title.text) == ("loss (nats)", "loss (nats)")
    assert layout.xaxis2.title.text == "optimizer step"
    assert layout.xaxis3.title.text == "phase time: optimizer step of a"


def test_a_run_that_is_not_aligned_is_named(figure):
    assert any("Not in phase time: b." in annotation.text for annotation in figure.layout.annotations)


def test_errors_are_drawn_where_there_is_no_loss():
    run = curves("a", series={"heldout_accuracy": (STEPS, [0.75] * len(STEPS))}, phase_time={})
    figure = comparison_figure([run, run], title="")
    assert set(in_row(figure, 1)[0].y) == {0.25}
    assert figure.layout.yaxis.title.text == "error (1 − accuracy)"


@pytest.mark.parametrize("count", [2, 7, 8, 20])
def test_two_to_twenty_runs_have_colors_and_bars_of_their_own(count):
    figure = comparison_figure([curves(f"run {k}") for k in range(count)], title="")
    assert len({trace.line.color for trace in in_row(figure, 1)}) == count
    assert list(figure.layout.yaxis2.ticktext) == [f"run {k}" for k in range(count)]


def test_runs_without_anything_are_drawn():
    figure = comparison_figure([RunCurves("a", (), {}), RunCurves("b", (), {})], title="nothing")
    assert len(figure.data) == 0


def test_long_curves_are_thinned():
    steps = range(50_000)
    run = curves("a", series={"train_loss": (steps, [1.0] * 50_000)}, phase_time={"train_loss": [float(k) for k in steps]})
    for trace in comparison_figure([run, run], title="").data:
        assert len(trace.x) <= MOST_POINTS
    assert trace.customdata is None or trace.customdata[-1][0] == 49_999


def test_names_are_escaped_and_written_out():
    hostile = "<script>alert(1)</script>"
    figure = comparison_figure([curves(hostile), curves(hostile, phase_time={})], title=hostile)
    assert "<script>" not in figure.to_json() and "\\u003cscript" not in figure.to_json()


def test_figure_can_be_written(figure, tmp_path):
    write_html(figure, tmp_path / "compare.html")
    assert (tmp_path / "compare.html").stat().st_size > 1000
