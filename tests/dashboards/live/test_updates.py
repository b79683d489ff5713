# SPDX-License-Identifier: Apache-2.0
"""What the live page sends: only what changed, in the settings of the reader, whatever the run directories hold."""

import json
from pathlib import Path

import pytest
from plotly.io.json import to_json_plotly
from reference_run import append_snapshot, make_hostile_run, make_reference_run, manifest

from lightning_interp.core.errors import RunError
from lightning_interp.dashboards.figures import Panel, panels
from lightning_interp.dashboards.live.known_runs import KnownRuns
from lightning_interp.dashboards.live.narrow import least_width, narrowed
from lightning_interp.dashboards.live.rendered_figure import Drawings, in_settings
from lightning_interp.dashboards.live.run_state import state_of
from lightning_interp.dashboards.live.settings import MOST_PICKED, Settings, settings_from
from lightning_interp.dashboards.live.updates import Updates
from lightning_interp.dashboards.run_view import view_run
from lightning_interp.store.analysis_state import AnalysisState
from lightning_interp.store.layout import MANIFEST
from lightning_interp.store.manifest import write_manifest


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return make_reference_run(tmp_path, last_step=1300)


def as_sent(update) -> object:
    """What the browser gives back later."""
    return json.loads(to_json_plotly(update.shown))


def test_updates_send_everything_to_a_new_page_and_nothing_to_one_that_has_it(run_dir):
    updates = Updates(KnownRuns([run_dir]))
    first = updates.since(None, Settings())
    again = updates.since(as_sent(first), Settings())
    assert first.heads
    assert first.body
    assert first.said is None  # what was before the reader came is no news
    assert (again.choices, again.heads, again.said, again.body, again.figures) == (None, None, None, None, [])


def test_updates_send_only_figures_that_changed(run_dir):
    updates = Updates(KnownRuns([run_dir]))
    first = updates.since(None, Settings(section="measures"))
    append_snapshot(run_dir, 1400)
    then = updates.since(as_sent(first), Settings(section="measures"))
    assert then.body is None
    assert {place["figure"] for place, _ in then.figures} == set(first.shown["figures"])
    AnalysisState(stage="running", last_step=1400, n_classes=113, pending=3).write(run_dir)
    last = updates.since(as_sent(then), Settings(section="measures"))
    assert (last.body, last.figures) == (None, [])  # the figures are as they were
    assert "3 snapshots to go" in to_json_plotly(last.heads)


def test_updates_announce_each_phase_once(run_dir):
    updates = Updates(KnownRuns([run_dir]))
    first = updates.since(None, Settings())
    for step in range(1400, 3500, 100):
        append_snapshot(run_dir, step)
    then = updates.since(as_sent(first), Settings())
    assert then.said == "Circuit formation began at step 1,400."
    assert updates.since(as_sent(then), Settings()).said is None


def test_updates_announce_with_names_where_there_are_several_runs(tmp_path, run_dir):
    other = make_reference_run(tmp_path, name="other", last_step=15_900)
    updates = Updates(KnownRuns([run_dir, other]))
    first = updates.since(None, Settings())
    append_snapshot(other, 16_000)
    assert updates.since(as_sent(first), Settings()).said == "other: training finished."


@pytest.mark.parametrize("shown", [None, {}, [], "x", {"figures": 1, "news": [], "heads": {}}, {"news": {"r0": 1}}])
def test_updates_believe_nothing_that_a_browser_claims(run_dir, shown):
    update = Updates(KnownRuns([run_dir])).since(shown, Settings())
    assert update.heads
    assert update.body


def test_updates_go_on_where_a_figure_cannot_be_drawn(run_dir, monkeypatch):
    def fails():
        raise ZeroDivisionError("no luck \x1b[31m")

    broken = Panel("broken", "A panel", "How to read it.", "phases", fails)
    monkeypatch.setattr("lightning_interp.dashboards.live.body.panels", lambda run: (broken, *panels(run)))
    text = to_json_plotly(Updates(KnownRuns([run_dir])).since(None, Settings()).body)
    assert r"This figure could not be drawn (ZeroDivisionError: no luck \\x1b[31m)." in text
    assert "Losses and phases" in text


def test_updates_go_on_where_a_run_cannot_be_summed_up(tmp_path, run_dir, monkeypatch):
    broken = make_reference_run(tmp_path, name="broken", last_step=500)
    content = json.loads((broken / "phases.json").read_text(encoding="utf-8"))
    content["phases"][0]["start"] = {"not": "a step"}
    (broken / "phases.json").write_text(json.dumps(content), encoding="utf-8")
    update = Updates(KnownRuns([broken, run_dir])).since(None, Settings())
    assert "phases.json" in to_json_plotly(update.heads) and "broken" in to_json_plotly(update.heads)
    assert "memorization" in to_json_plotly(update.heads)


def test_updates_ignore_runs_that_do_not_exist(run_dir):
    update = Updates(KnownRuns([run_dir])).since(None, Settings(picked=("../x", "r7")))
    assert update.shown["figures"] == {}


def test_known_runs_tell_equal_names_apart(tmp_path):
    paths = [make_reference_run(tmp_path / folder, last_step=200) for folder in ("a", "b")]
    runs = KnownRuns([*paths, paths[0]])
    assert [(run.key, run.name) for run in runs.all()] == [("r0", "reference"), ("r1", "reference (2)")]
    assert runs.get("r1").path == paths[1]
    assert runs.get("../r1") is None


def test_known_runs_show_the_latest_of_a_folder_first(tmp_path):
    for name in ("20260101T000000Z-a", "20260103T000000Z-c", "20260102T000000Z-b"):
        make_reference_run(tmp_path, name=name, last_step=200)
    (tmp_path / "no run").mkdir()
    assert [run.name[-1] for run in KnownRuns([tmp_path]).all()] == ["c", "b", "a"]


def test_known_runs_name_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(
        RunError, match=r"nothing: no such folder\. Give a run directory, or the folder that run directories"
    ):
        KnownRuns([tmp_path / "nothing"])


def test_known_run_keeps_what_it_read_when_a_file_is_torn(run_dir):
    run = KnownRuns([run_dir]).all()[0]
    before = run.look()
    (run_dir / MANIFEST).write_text("{torn", encoding="utf-8")
    torn = run.look()
    assert "cannot be read" in torn.problem
    assert torn.view is before.view


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("scale", ["log", "linear"])
def test_in_settings_changes_scales_ticks_and_theme_only(run_dir, scale, theme):
    run = view_run(run_dir)
    for panel in panels(run):
        drawn = Drawings().draw("r0", 1, panel)
        figure = in_settings(drawn, Settings(time=scale, values=scale, theme=theme), beside=1)
        meta = drawn.figure["layout"].get("meta", {})
        axes = [*meta.get("time_axes", ()), *meta.get("value_axes", ())]
        assert {figure["layout"][name]["type"] for name in axes} <= {scale}
        assert figure["data"] == drawn.figure["data"]
        json.loads(to_json_plotly(figure))


def test_settings_from_take_only_what_is_a_choice():
    assert settings_from("../x", None, 3, "dark", "r0") == Settings()
    found = settings_from("layers", "linear", "linear", {"theme": "dark", "narrow": True}, ["r0", 3, "r1"])
    assert found == Settings("layers", "linear", "linear", "dark", narrow=True, picked=("r0", "r1"))
    assert len(settings_from(None, None, None, None, ["r0"] * 99).picked) == MOST_PICKED


def test_narrowed_shortens_names_and_keeps_them_escaped():
    figure = {
        "data": [{"mode": "lines+text", "colorbar": {"title": {"text": "share"}}}],
        "layout": {
            "yaxis": {"ticktext": ["short", "a long name that is ending in &lt;b&gt;"]},
            "legend2": {"x": 0},
            "xaxis": {},
        },
    }
    narrow = narrowed(figure)
    assert narrow["layout"]["yaxis"]["ticktext"] == ["short", "… is ending in &lt;b&gt;"]
    assert narrow["data"][0]["mode"] == "lines"
    assert figure["data"][0]["mode"] == "lines+text"


def test_least_width_counts_columns():
    axes = {"xaxis": {"domain": [0, 0.4]}, "xaxis2": {"domain": [0.6, 1]}, "xaxis3": {"domain": [0, 0.4]}}
    assert (least_width({"layout": axes}), least_width({"layout": {"xaxis": {"domain": [0, 1]}}})) == (460, 0)


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({"stage": "starting"}, "The analyzer is starting."),
        (
            {"stage": "running", "observing": 1200, "pending": 2},
            "The analyzer is at step 1,200 of 1,300; 2 snapshots to go.",
        ),
        ({"stage": "running", "fitting": True}, "The analyzer is fitting components."),
        (
            {"stage": "running", "waiting_for_slot": True},
            "The analyzer waits for other analyzers on its machine; it goes on when one of them ends or hands its turn on.",
        ),
        (
            {"stage": "running", "waiting_for_slot": True, "waits_for": [41, 57, 60]},
            "The analyzer waits for 3 other analyzers of yours (pids 41, 57, 60); "
            "it goes on when one of them ends or hands its turn on.",
        ),
        (
            {"stage": "running", "waiting_for_slot": True, "waits_for": list(range(1, 10))},
            "The analyzer waits for 9 other analyzers of yours (pids 1, 2, 3, 4, 5, 6, 7, 8, …); "
            "it goes on when one of them ends or hands its turn on.",
        ),
        (
            {"stage": "running", "last_step": 1100, "pending": 1},
            "The analyzer has reached step 1,100 of 1,300; 1 snapshot to go.",
        ),
        ({"stage": "stopped", "pending": 5}, "The analyzer stopped; 5 snapshots to go."),
        ({"stage": "failed"}, "The analyzer failed."),
    ],
)
def test_state_of_says_where_the_analyzer_is(run_dir, state, sentence):
    AnalysisState(**state).write(run_dir)
    assert state_of(view_run(run_dir), now=0).analyzer == sentence


@pytest.mark.parametrize(
    ("status", "stage", "ended"),
    [
        ("training", "running", False),
        ("finished", "running", False),
        ("finished", "finished", True),
        ("failed", "failed", True),
    ],
)
def test_state_of_knows_when_nothing_more_is_to_come(run_dir, status, stage, ended):
    write_manifest(run_dir, manifest(status))
    AnalysisState(stage=stage).write(run_dir)
    assert state_of(view_run(run_dir), now=0).ended is ended


def test_updates_of_a_hostile_run_hold_its_texts_as_texts(tmp_path):
    update = Updates(KnownRuns([make_hostile_run(tmp_path)])).since(None, Settings())
    names = {part["type"] for part in _components(json.loads(to_json_plotly([update.heads, update.body])))}
    assert not names & {"Script", "Img", "Iframe", "Markdown", "DangerouslySetInnerHTML"}


def _components(found) -> list[dict]:
    if isinstance(found, list):
        return [each for item in found for each in _components(item)]
    if not isinstance(found, dict):
        return []
    own = [found] if "namespace" in found else []
    return own + [each for item in found.values() for each in _components(item)]
