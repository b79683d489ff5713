# SPDX-License-Identifier: Apache-2.0
"""Every figure of a run: what it draws, on which axes, in which words."""

import re
from dataclasses import replace

import numpy as np
import pytest
from reference_run import ESCAPES, make_hostile_run, make_reference_run

from lightning_interp.core.timeline import Timeline
from lightning_interp.dashboards.figures import SECTIONS, absent, overlay_panels, panels, standalone
from lightning_interp.dashboards.figures.catalog import key_of
from lightning_interp.dashboards.figures.courses import MOST_ROWS
from lightning_interp.dashboards.figures.layers import _edges
from lightning_interp.dashboards.figures.thinning import kept_places, thin
from lightning_interp.dashboards.figures.time_axis import linear_tick_steps, step_offset
from lightning_interp.dashboards.figures.trajectory import principal_plane
from lightning_interp.dashboards.layer_grid import LayerGrid
from lightning_interp.dashboards.run_view import RunView, view_history, view_run
from lightning_interp.dashboards.theme import LIGHT
from lightning_interp.phases import detect_phases
from lightning_interp.store import Attempt

STEPS = list(range(0, 1000, 10))


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return view_run(make_reference_run(tmp_path_factory.mktemp("reference")))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return view_run(make_hostile_run(tmp_path_factory.mktemp("hostile")))


@pytest.fixture(scope="module")
def rich(reference):
    """The reference run with everything else a run can have."""
    random = np.random.default_rng(0)
    steps = np.array(reference.series["train_loss"][0])
    layers = tuple(f"layer {k}" for k in range(5))
    grid = LayerGrid(steps, layers, np.exp(random.normal(size=(len(steps), 5)) + np.arange(5) * 3))
    power = random.dirichlet(np.ones(56), size=len(steps))
    walk = random.normal(size=(len(steps), 128)).cumsum(axis=0)
    vectors = {"fourier_power_embedding": (steps, power), "weight_sketch": (steps, walk)}
    return replace(reference, by_layer={"weight_norm": grid, "hoyer": grid}, vectors=vectors)


def figure_of(run, key):
    return next(panel for panel in panels(run) if panel.key == key).draw()


def test_panels_of_a_rich_run_are_all_there(rich):
    assert [panel.key for panel in panels(rich)] == [
        "losses", "timeline", "trajectory", "accuracies", "progress", "weights", "layers-weight-norm", "layers-hoyer",
        "fourier-power-embedding", "settings", "health",
    ]  # fmt: skip


@pytest.mark.parametrize("which", ["reference", "rich", "hostile"])
def test_panels_draw_with_what_a_page_needs(which, request):
    run = request.getfixturevalue(which)
    found = panels(run)
    assert len({panel.key for panel in found}) == len(found)
    for panel in found:
        figure = panel.draw()
        assert figure.layout.template.layout.paper_bgcolor == LIGHT.layout.paper_bgcolor
        assert figure.layout.height > 100 and not figure.layout.updatemenus and not figure.layout.title.text
        assert panel.section in dict(SECTIONS) and re.fullmatch(r"[a-z0-9-]+", panel.key) and panel.caption.endswith(".")
        for name in figure.layout.meta["time_axes"]:
            assert figure.layout[name].type == "log"
            assert len(figure.layout[name].tickvals) == len(figure.layout[name].ticktext) > 0


def test_panels_of_the_hostile_run_hold_no_markup_of_its_own(hostile):
    """Plotly reads a few tags in texts; what comes from a run is escaped in every text of every figure."""
    for panel in panels(hostile):
        text = panel.draw().to_json()
        assert "<script" not in text and "<img" not in text and "\\u003cscript" not in text and "\\u003cimg" not in text


def test_absent_names_what_a_run_lacks_and_nothing_else(reference, rich):
    assert absent(reference).keys() == {"Trajectory of the weights", "Fourier power", "Tensor components"}
    assert absent(rich).keys() == {"Tensor components"}


def test_standalone_has_title_buttons_and_key(reference):
    figure = standalone(panels(reference)[0], reference)
    assert figure.layout.title.text == "Losses and phases · reference<br><sub>verdict: grokking (final)</sub>"
    assert [[button.label for button in menu.buttons] for menu in figure.layout.updatemenus] == [
        ["y log", "y linear"],
        ["x log", "x linear"],
    ]
    assert "cleanup 9,800–12,700" in figure.layout.annotations[-1].text


def test_buttons_change_ticks_with_the_scale(reference):
    figure = standalone(panels(reference)[0], reference)
    linear = figure.layout.updatemenus[1].buttons[1].args[0]
    offset = step_offset(reference.series)
    assert linear["xaxis.type"] == "linear" and linear["xaxis2.ticktext"] == ["0", "5,000", "10,000", "15,000"]
    assert linear["xaxis.tickvals"] == [offset, 5000 + offset, 10_000 + offset, 15_000 + offset]


def test_losses_of_a_regression_are_not_called_nats():
    series = {"train_loss": (STEPS, [1 / (1 + s) for s in STEPS]), "heldout_loss": (STEPS, [2 / (1 + s) for s in STEPS])}
    run = RunView("r", series, detect_phases(series), manifest=None, analysis={"n_classes": None})
    from reference_run import manifest

    run = replace(run, manifest=manifest("finished"))
    assert figure_of(run, "losses").layout.yaxis.title.text == "loss (own unit)"


def test_a_run_without_heldout_data_gets_its_stages():
    series = {"train_loss": (STEPS, [4 * (1 + s) ** -0.5 for s in STEPS])}
    run = view_history("self-supervised", series, detect_phases(series))
    rows = figure_of(run, "timeline").layout.yaxis.ticktext
    assert "shape of the loss" in rows


def test_a_negative_loss_gets_a_linear_axis():
    series = {"train_loss": (STEPS, [-float(s) for s in STEPS])}
    figure = figure_of(view_history("n", series, Timeline("unknown")), "losses")
    assert figure.layout.meta["value_axes"] == [] and figure.layout.yaxis.type is None


def test_logged_losses_of_several_tasks_are_drawn():
    training = {f"logged/loss_{k}": (STEPS, [1.0] * len(STEPS)) for k in range(20)}
    run = RunView("many", {}, Timeline("unknown"), training=training)
    assert len(figure_of(run, "logged").data) == MOST_ROWS


def test_layers_figure_shows_shares_of_each_layer_and_the_values_themselves(rich):
    trace = figure_of(rich, "layers-weight-norm").data[0]
    values = rich.by_layer["weight_norm"].values.T
    assert list(trace.y) == [f"layer {k}" for k in range(5)]
    np.testing.assert_allclose(trace.z, values / values.max(axis=1, keepdims=True), rtol=1e-6)  # float32
    np.testing.assert_allclose(trace.customdata[..., 1], values, rtol=1e-6)
    assert trace.customdata[0, :, 0].tolist() == rich.by_layer["weight_norm"].steps.tolist()


def test_layers_of_one_layer_are_left_to_the_scalar(reference):
    grid = LayerGrid(np.arange(3), ("only",), np.ones((3, 1)))
    assert "layers-hoyer" not in {panel.key for panel in panels(replace(reference, by_layer={"hoyer": grid}))}


def test_fourier_figure_is_logarithmic_down_to_a_thousandth(rich):
    trace = figure_of(rich, "fourier-power-embedding").data[0]
    assert (trace.zmin, trace.zmax) == (-3, 0)
    power = rich.vectors["fourier_power_embedding"][1].T
    np.testing.assert_allclose(trace.z, np.log10(np.maximum(power, 1e-3)), atol=1e-6)  # float32


def test_edges_lie_between_their_positions():
    positions = np.array([1.0, 10.0, 100.0, 150.0])
    edges = _edges(positions)
    assert len(edges) == 5 and np.all(edges[:-1] < positions) and np.all(positions < edges[1:])
    np.testing.assert_allclose(edges[1:-1], np.sqrt(positions[1:] * positions[:-1]))


def test_principal_plane_equals_scikit_learns():
    from sklearn.decomposition import PCA

    points = np.random.default_rng(0).normal(size=(40, 16)) * np.arange(1, 17)
    found, shares = principal_plane(points)
    model = PCA(2)
    expected = model.fit_transform(points)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-9)  # signs are free
    np.testing.assert_allclose(shares, model.explained_variance_ratio_, rtol=1e-9)


def test_trajectory_keeps_one_scale_on_both_axes(rich):
    figure = figure_of(rich, "trajectory")
    assert figure.layout.yaxis.scaleanchor == "x" and figure.layout.yaxis.scaleratio == 1
    drawn = sum(len(trace.x) for trace in figure.data if trace.mode == "markers")
    assert drawn == len(rich.series["train_loss"][0])


def test_timeline_draws_phases_whiskers_and_alarms(reference):
    figure = figure_of(reference, "timeline")
    texts = [text for trace in figure.data for text in trace.hovertext or ()]
    assert any(text.startswith("memorization, steps 200 to 1,400") for text in texts)
    assert any("can lie in 1,300 to 1,700" in text for text in texts)
    assert "early warning" in {trace.name for trace in figure.data}


def test_settings_are_drawn_over_the_phases(reference):
    figure = figure_of(reference, "settings")
    assert [annotation.text for annotation in figure.layout.annotations] == [
        "learning rate",
        "weight decay",
        "batch size (examples)",
    ]
    assert sum(shape.type == "rect" for shape in figure.layout.shapes) == 3 * len(reference.timeline.phases)


def test_overlay_needs_two_runs(reference):
    assert overlay_panels([reference]) == ()
    figure = overlay_panels([reference, replace(reference, name="another")])[0].draw()
    assert {trace.name for trace in figure.data} >= {"reference", "another"}


def test_overlay_lays_phases_over_each_other(reference):
    """A run whose steps are all doubled falls on the original in phase time."""
    series = {name: ([2 * step for step in steps], values) for name, (steps, values) in reference.series.items()}
    phases = tuple(replace(p, start=2 * p.start, end=p.end and 2 * p.end) for p in reference.timeline.phases)
    doubled = replace(reference, name="doubled", series=series, timeline=replace(reference.timeline, phases=phases))
    figure = overlay_panels([reference, doubled])[0].draw()
    first, second = (t for t in figure.data if t.xaxis == "x3" and t.line.dash == "solid")
    np.testing.assert_allclose(second.x, first.x, rtol=1e-9)


def test_two_runs_of_one_name_are_told_apart(reference):
    figure = overlay_panels([reference, replace(reference)])[0].draw()
    assert {"reference", "reference (2)"} <= {trace.name for trace in figure.data}


def test_thin_keeps_ends_and_leaves_no_gap_in_log_time():
    steps = list(range(100_000))
    kept, values = thin(steps, [float(step) for step in steps], most=200)
    assert kept[0] == 0 and kept[-1] == 99_999 and len(kept) <= 200 and [float(s) for s in kept] == values
    # A sixth of the 200 points are even in log time, and some of these fall between two steps.
    assert np.diff(np.log1p(kept)).max() <= max(np.log(2), 2 * np.log(100_000) / 33)


def test_thin_keeps_every_high_and_low():
    """A spike of one snapshot anywhere in 5,000 even ones is drawn."""
    steps = list(range(0, 100_000, 20))
    for place in range(1, 5000, 97):
        values = [1.0] * 5000
        values[place], values[-place] = 50.0, -50.0
        _, drawn = thin(steps, values)
        assert max(drawn) == 50.0 and min(drawn) == -50.0 and len(drawn) <= 2000


def test_thin_leaves_no_gap_on_a_linear_axis():
    kept, _ = thin(list(range(0, 100_000, 20)), [0.0] * 5000)
    assert max(np.diff(kept)) < 100_000 / 200


def test_layers_figure_knows_a_maximum_that_is_not_drawn(rich):
    steps = np.arange(0, 100_000, 20)
    values = np.ones((5000, 2))
    values[4321, 0] = 100.0
    run = replace(rich, by_layer={"hoyer": LayerGrid(steps, ("a", "b"), values)})
    colors = figure_of(run, "layers-hoyer").data[0].z
    assert colors[0].min() == pytest.approx(0.01) and colors[1].max() == 1.0


def test_overlay_of_losses_of_their_own_kind_is_honest():
    from reference_run import manifest

    series = {"train_loss": (STEPS, [1.0 - s for s in STEPS])}
    run = RunView("own", series, Timeline("unknown"), manifest=manifest("finished"))
    figure = overlay_panels([run, replace(run, name="two")])[0].draw()
    assert figure.layout.yaxis.title.text == "loss (own unit)" and figure.layout.meta["value_axes"] == []


def test_health_leaves_out_what_a_resume_took_back(reference):
    from reference_run import manifest

    rows = [{"event": "snapshot", "attempt": 0, "step": s, "copy_ms": 1.0, "write_ms": 1.0} for s in range(0, 1001, 100)]
    rows += [{"event": "snapshot", "attempt": 1, "step": s, "copy_ms": 1.0, "write_ms": 1.0} for s in range(450, 801, 50)]
    resumed = manifest("finished", attempts=(Attempt(0), Attempt(1, 400)))
    figure = figure_of(replace(reference, health=tuple(rows), manifest=resumed), "health")
    assert list(figure.data[0].customdata) == [0, 100, 200, 300, 400, *range(450, 801, 50)]


def test_kept_places_of_few_steps_are_all():
    assert kept_places([0, 5, 6], 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("last", [0, 1, 9, 100, 16_000, 10**9])
def test_linear_ticks_are_few_and_even(last):
    ticks = linear_tick_steps(last)
    assert ticks[0] == 0 and len(ticks) <= 8 and len(set(np.diff(ticks))) <= 1 and ticks[-1] <= last


@pytest.mark.parametrize("name", ["", "<b>", ESCAPES, "a" * 200, "ünï/../x"])
def test_key_of_any_name_is_plain(name):
    assert re.fullmatch(r"[a-z0-9-]{1,60}", key_of(name))
