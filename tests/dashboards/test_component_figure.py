# SPDX-License-Identifier: Apache-2.0
"""The component figure and the rank figure: what is drawn where, at which scale, escaped."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lightning_interp.core.errors import ShapeError
from lightning_interp.core.timeline import Phase, Timeline
from lightning_interp.dashboards.figures import (
    components_figure,
    rank_selection_figure,
    step_offset,
    write_image,
    write_page,
)
from lightning_interp.dashboards.figures.component_panels import COMPONENT_COLORS, NULL_COLOR
from lightning_interp.dashboards.figures.component_values import stimulus_groups, units_carrying
from lightning_interp.tca.cp import arranged

STEPS = [0, 10, 20, 40, 80, 160]
STIMULI, UNITS = 9, 7
LABELS = torch.tensor([2, 1, 1, 2, 1, 2, 1, 1, 2])
HELDOUT = torch.arange(STIMULI) >= 6
PHASES = (Phase("fitting", 0, 40, 0.9, (0, 0), (20, 40)), Phase("cleanup", 40, None, 0.9, (20, 40)))
TIMELINE = Timeline("grokking", PHASES)


def random_fit(rank, *, seed=0, flags=()):
    generator = torch.Generator().manual_seed(seed)
    factors = [torch.randn(size, rank, generator=generator) for size in (len(STEPS), STIMULI, UNITS)]
    return arranged(torch.arange(rank, 0, -1.0), factors, relative_error=0.25, converged=True, n_iter=9, flags=flags)


def described(component, sentence):
    return SimpleNamespace(component=component, sentence=lambda: sentence)


def panel(figure, column, row=0):
    """Traces of one panel."""
    number = 3 * row + column
    name = "x" if number == 1 else f"x{number}"
    return [trace for trace in figure.data if (trace.xaxis or "x") == name]


def texts(figure):
    return " ".join(annotation.text for annotation in figure.layout.annotations)


@pytest.fixture(scope="module")
def figure():
    return components_figure(
        random_fit(3), STEPS, TIMELINE, title="mlp", labels=LABELS, heldout=HELDOUT, null=random_fit(3, seed=1)
    )


def test_components_figure_has_course_stimuli_and_units_for_each_component(figure):
    assert [[len(panel(figure, column, row)) for column in (1, 2, 3)] for row in range(3)] == [[2, 2, 1]] * 3


def test_components_figure_course_is_the_rms_of_the_component():
    fit = random_fit(1)
    line = panel(components_figure(fit, STEPS, None, title=""), 1)[0]
    rms = fit.full().square().mean(dim=(1, 2)).sqrt()
    assert np.abs(line.y) == pytest.approx(rms.numpy(), rel=1e-5)  # float32 against float64


def test_components_figure_keeps_the_true_step_beside_the_position(figure):
    line = panel(figure, 1)[1]
    offset = step_offset({"": (STEPS, [])})
    assert [x - offset for x in line.x] == list(line.customdata) == STEPS


def test_components_figure_shades_every_phase_in_every_course_panel(figure):
    shaded = [shape.xref for shape in figure.layout.shapes if shape.type == "rect"]
    assert sorted(shaded) == sorted(["x", "x4", "x7"] * len(PHASES))


def test_components_figure_draws_the_null_behind_the_component_of_the_same_place():
    fit, null = random_fit(2), random_fit(2, seed=1)
    weakest_first = SimpleNamespace(
        cp_weights=fit.cp_weights.flip(0), factors=[f.flip(1) for f in fit.factors], relative_error=0.2, flags=()
    )
    drawn = components_figure(weakest_first, STEPS, None, title="", null=null)
    gray, own = panel(drawn, 1)
    second = null.factors[0][:, 1] * null.cp_weights[1] / (STIMULI * UNITS) ** 0.5
    assert gray.line.color == NULL_COLOR and own.line.color == COMPONENT_COLORS[0]
    assert gray.y == pytest.approx(second.numpy(), rel=1e-5)


def test_components_figure_groups_stimuli_by_split_and_class_and_sorts_within(figure):
    train, heldout = panel(figure, 2)
    classes = [text.split("class ")[1] for trace in (train, heldout) for text in trace.customdata]
    assert classes == ["1, train"] * 3 + ["2, train"] * 3 + ["1, held-out"] * 2 + ["2, held-out"]
    assert list(train.y[:3]) == sorted(train.y[:3], reverse=True)


def test_components_figure_draws_every_stimulus_once_under_its_index(figure):
    fit = random_fit(3)
    drawn = {
        int(text.split()[1].rstrip(",")): y for t in panel(figure, 2) for text, y in zip(t.customdata, t.y, strict=True)
    }
    # RMS 1: the unit-norm column times the square root of its length
    expected = dict(enumerate((fit.factors[1][:, 0] * STIMULI**0.5).tolist()))
    assert drawn == pytest.approx(expected, rel=1e-5)


def test_components_figure_marks_the_boundary_between_train_and_heldout(figure):
    lines = [(shape.xref, shape.x0) for shape in figure.layout.shapes if shape.type == "line" and shape.x0 == 5.5]
    assert lines == [("x2", 5.5), ("x5", 5.5), ("x8", 5.5)]
    assert "<i>train</i>" in texts(figure) and "<i>held-out</i>" in texts(figure)


def test_components_figure_sorts_units_and_keeps_their_index(figure):
    loading = random_fit(3).factors[2][:, 0]
    (units,) = panel(figure, 3)
    assert list(units.y) == sorted(units.y, reverse=True)
    assert units.customdata[0].startswith(f"unit {loading.abs().argmax().item()}: ")


def test_components_figure_names_axes_and_units(figure):
    axes = (figure.layout.xaxis7, figure.layout.xaxis8, figure.layout.xaxis9)
    assert [axis.title.text for axis in axes] == ["optimizer step", "stimulus, by class", "unit, sorted"]
    assert "loading (share of RMS)" in texts(figure)


def test_components_figure_says_rank_errors_and_flags():
    drawn = components_figure(random_fit(2, flags=("not_converged",)), STEPS, None, title="mlp", null=random_fit(2))
    title = drawn.layout.title.text
    assert all(part in title for part in ("mlp", "rank 2", "0.250", "unit labels shuffled: 0.250", "flags: not converged"))


def test_components_figure_without_labels_sorts_all_stimuli():
    (stimuli,) = panel(components_figure(random_fit(1), STEPS, None, title=""), 2)
    assert list(stimuli.y) == sorted(stimuli.y, reverse=True)


def test_components_figure_colors_follow_identity():
    fit = random_fit(2)
    stored = SimpleNamespace(
        cp_weights=fit.cp_weights.numpy(), factors=[f.numpy() for f in fit.factors], relative_error=0.1, flags=[]
    )
    stored.component_ids = (4, 1)
    drawn = components_figure(stored, STEPS, None, title="")
    assert [panel(drawn, 1, row)[0].line.color for row in range(2)] == [COMPONENT_COLORS[4], COMPONENT_COLORS[1]]
    assert "component 4: " in texts(drawn)


def test_components_figure_heads_rows_with_sentences():
    drawn = components_figure(random_fit(1), STEPS, None, title="", descriptions=[described(3, "rises at step 20")])
    assert "rises at step 20" in texts(drawn) and panel(drawn, 1)[0].name == "component 3"


def test_components_figure_escapes_what_comes_from_a_run():
    hostile = "<script>alert(1)</script>"
    timeline = Timeline("unknown", (Phase(hostile, 0, None, 0.5, (0, 0)),))
    fit = random_fit(1, flags=(hostile,))
    drawn = components_figure(fit, STEPS, timeline, title=hostile, descriptions=[described(0, hostile)])
    text = drawn.to_json()
    assert "<script>" not in text and "\\u003cscript" not in text


@pytest.mark.parametrize("rank", [1, 4, 8, 12])
def test_components_figure_gives_every_component_room(rank):
    drawn = components_figure(random_fit(rank), STEPS, TIMELINE, title="")
    axes = [drawn.layout["yaxis" if row == 0 else f"yaxis{3 * row + 1}"].domain for row in range(rank)]
    inner = drawn.layout.height - drawn.layout.margin.t - drawn.layout.margin.b
    assert all((top - bottom) * inner >= 79 for bottom, top in axes)  # 80 pixels up to rounding


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": STEPS[:-1]}, "5 `steps` for a fit of 6 snapshots"),
        ({"labels": LABELS[:-1]}, "`labels` needs one entry for each of 9 stimuli"),
        ({"heldout": HELDOUT[None]}, "`heldout` needs one entry"),
        ({"descriptions": [described(0, "")]}, "1 `descriptions` for a fit of rank 2"),
        ({"fit": SimpleNamespace(cp_weights=[1.0], factors=[[[1.0]]] * 4)}, "expected a fit with 3 axes"),
    ],
)
def test_components_figure_names_what_does_not_match(change, message):
    arguments = {"fit": random_fit(2), "steps": STEPS, "timeline": None, "title": "", **change}
    with pytest.raises(ShapeError, match=message):
        components_figure(**arguments)


def test_components_figure_refuses_a_null_of_another_run():
    fit = random_fit(2)
    null = SimpleNamespace(cp_weights=fit.cp_weights, factors=[f[1:] for f in fit.factors], relative_error=0.5, flags=())
    with pytest.raises(ShapeError, match="`null` has 5 snapshots, the fit 6"):
        components_figure(fit, STEPS, None, title="", null=null)


def test_stimulus_groups_hold_every_stimulus_once():
    members = np.concatenate([group.members for group in stimulus_groups(STIMULI, LABELS, HELDOUT)])
    assert sorted(members) == list(range(STIMULI))


@pytest.mark.parametrize(("loading", "count"), [([1.0] * 10, 9), ([0.0, 5.0, 0.1], 1), ([0.0, 0.0], 0), ([-3.0, 4.0], 2)])
def test_units_carrying_counts_the_fewest(loading, count):
    assert units_carrying(np.array(loading)) == count


TABLE = (
    {"rank": 1, "relative_error": 0.5, "similarity": 1.0, "core_consistency": 100.0, "heldout_error": None},
    {"rank": 2, "relative_error": 0.3, "similarity": 0.9, "core_consistency": -40.0, "heldout_error": 0.4},
)


def test_rank_selection_figure_draws_all_four_curves_with_gaps():
    curves = {trace.name: list(trace.y) for trace in rank_selection_figure(TABLE, 2, title="").data}
    assert curves == {
        "fit": [0.5, 0.3],
        "held-out data": [None, 0.4],
        "similarity": [1.0, 0.9],
        "core consistency": [100.0, 0],
    }


def test_rank_selection_figure_tells_the_true_core_consistency():
    (curve,) = (t for t in rank_selection_figure(TABLE, 2, title="").data if t.name == "core consistency")
    assert list(curve.customdata) == [100.0, -40.0]


def test_rank_selection_figure_marks_the_recommended_rank():
    spans = {
        (shape.x0, shape.x1) for shape in rank_selection_figure(TABLE, 2, title="").layout.shapes if shape.type == "rect"
    }
    assert spans == {(1.6, 2.4)}


def test_rank_selection_figure_escapes_its_title():
    assert "<b>x" not in rank_selection_figure(TABLE, None, title="<b>x").layout.title.text


def test_write_page_holds_all_figures_and_plotly_once(figure, tmp_path):
    write_page([figure, rank_selection_figure(TABLE, 2, title="ranks")], tmp_path / "page.html", title="<run>")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count("Plotly.newPlot(") >= 2 and "<title>&lt;run&gt;</title>" in text
    assert 'src="http' not in text and len(text) < 8e6  # plotly.js has about 4.5 MB


def test_write_image_turns_every_failure_into_one_kind(figure, tmp_path, monkeypatch):
    async def fail(*args, **kwargs):
        raise ValueError("no browser")

    monkeypatch.setattr("kaleido.Kaleido.calc_fig", fail)
    with pytest.raises(RuntimeError, match="ValueError: no browser"):
        write_image(figure, tmp_path / "f.png")
