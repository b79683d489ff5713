# SPDX-License-Identifier: Apache-2.0
"""The report: complete, self-contained, and a stranger's run cannot do anything in it. What a browser makes of it is
tested in tests/browser."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from reference_run import make_hostile_run, make_reference_run, manifest

from lightning_interp.core.errors import ConfigError, RunError
from lightning_interp.core.timeline import Phase, Timeline
from lightning_interp.dashboards.report import boundary_changes, report_html, status_words, verdict_sentence, write_report
from lightning_interp.dashboards.report.page import number
from lightning_interp.dashboards.run_view import RunView, view_history, view_run
from lightning_interp.phases import detect_phases


class Page(HTMLParser):
    """Tags with their attributes, and texts of scripts and of everything else."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.text = [], [], []
        self._script = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._script = dict(attrs) if tag == "script" else None

    def handle_data(self, data):
        if self._script is not None:
            self.scripts.append((self._script, data))
        else:
            self.text.append(data)

    def handle_endtag(self, tag):
        self._script = None

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def reference_dir(tmp_path_factory):
    return make_reference_run(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(reference_dir):
    return Page(write_report([reference_dir]).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return Page(write_report([make_hostile_run(tmp_path_factory.mktemp("hostile"))]).read_text(encoding="utf-8"))


def test_report_says_the_verdict_in_one_sentence(page):
    assert "Memorized at step 200 (held-out accuracy at the fit 0.0" in page.words
    assert (
        "solved held-out data at step 10,500" in page.words
        and "times as late or later, and kept it: grokking." in page.words
    )


def test_report_lists_the_phases_with_their_intervals(page):
    assert "circuit formation 1,400 1,300 to 1,700 9,800" in page.words


def test_report_has_configuration_health_and_files(page):
    for words in ("module project.Transformer", "retention log", "snapshots written 161", "run.json", "version of torch"):
        assert words in page.words
    links = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    assert {"./run.json", "./records.jsonl", "./health.jsonl", "./phases.json"} <= links


def test_report_says_what_is_not_drawn(page):
    assert "Trajectory of the weights : no sketches of the weights are recorded" in page.words


def test_report_figures_are_data_with_their_words(page):
    figures = [attributes["data-figure"] for attributes, _ in page.scripts if "data-figure" in attributes]
    assert figures[0] == "run1-losses" and {"run1-timeline", "run1-progress", "run1-settings"} <= set(figures)
    for attributes, text in page.scripts:
        if "data-figure" in attributes:
            assert json.loads(text)["data"]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) and set(figures) <= set(ids)


def test_report_asks_for_nothing_from_anywhere(page):
    loaded = [
        (tag, value) for tag, attributes in page.tags for name, value in attributes.items() if name in ("src", "srcset")
    ]
    linked = [attributes["href"] for tag, attributes in page.tags if tag in ("a", "link")]
    assert loaded == [] and all(link.startswith(("./", "#")) for link in linked)


def test_report_lets_only_its_own_two_scripts_run(page):
    policy = next(attributes["content"] for tag, attributes in page.tags if attributes.get("http-equiv"))
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    run = [text for attributes, text in page.scripts if attributes.get("type") != "application/json"]
    assert {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in run} == allowed
    assert len(run) == 2 and "default-src 'none'" in policy and "'unsafe-inline'" not in policy.split("style-src")[0]


def test_report_of_a_hostile_run_holds_no_element_of_its_own(page, hostile):
    ours = {tag for tag, _ in page.tags}
    assert {tag for tag, _ in hostile.tags} <= ours | {"strong"}
    assert not [attributes for _, attributes in hostile.tags if any(name.startswith("on") for name in attributes)]
    assert len([1 for attributes, _ in hostile.scripts if attributes.get("type") != "application/json"]) == 2


def test_report_of_a_hostile_run_shows_its_names_as_text(hostile):
    assert "<script>window.harm = 1</script>" in hostile.words and 'onerror="window.harm = 1"' in hostile.words
    assert not {character for character in hostile.words if ord(character) < 32 or character == "\x7f"}


def test_report_of_a_hostile_run_links_inside_its_directory_only(hostile):
    links = [attributes["href"] for tag, attributes in hostile.tags if tag == "a" and attributes["href"].startswith("./")]
    assert links and all(".." not in link.split("/") for link in links)


def test_report_elsewhere_links_back(reference_dir, tmp_path):
    page = Page(write_report([reference_dir], tmp_path).read_text(encoding="utf-8"))
    link = next(a["href"] for tag, a in page.tags if tag == "a" and a["href"].endswith("/records.jsonl"))
    assert (tmp_path / link).resolve() == (reference_dir / "records.jsonl").resolve()


def test_report_of_two_runs_has_both_and_an_overlay(reference_dir, tmp_path):
    other = make_reference_run(tmp_path, name="other", every=3)
    tables = {"statistics": {"head": ["start of"], "rows": [["cleanup"]]}, "similarity": {"head": [], "rows": []}}
    path = write_report([reference_dir, other], tmp_path, comparison={**tables, "notes": ["a note"]})
    page = Page(path.read_text(encoding="utf-8"))
    figures = {attributes.get("data-figure") for attributes, _ in page.scripts}
    assert {"together-runs", "run1-losses", "run2-losses"} <= figures
    assert "2 runs" in page.words and "a note" in page.words


def test_report_of_a_regression_says_no_verdict_and_the_shape():
    steps = list(range(0, 4000, 20))
    series = {"train_loss": (steps, [4 * (1 + step) ** -0.7 for step in steps])}
    sentence = verdict_sentence(view_history("regression", series, detect_phases(series)))
    assert sentence.startswith("Fitted the training set (train loss 0.")
    assert "There is no held-out data" in sentence and "Shape of the curve: descent from step 0" in sentence


def test_report_of_losses_alone_says_what_stands_for_the_null():
    steps = list(range(0, 4000, 20))
    curve = [4 * (1 + step) ** -0.7 for step in steps]
    series = {"train_loss": (steps, curve), "heldout_loss": (steps, curve)}
    run = replace(view_history("mse", series, detect_phases(series)), manifest=manifest("finished"))
    sentence = verdict_sentence(run)
    assert (
        "loss of a constant predictor is not known; held-out loss at its first record, step 0 (4) stands for it" in sentence
    )


def test_report_of_an_empty_run_is_a_page(tmp_path):
    page = Page(report_html([RunView("empty", {}, Timeline("unknown"))]))
    assert "Nothing has been recorded yet." in page.words


def test_report_survives_a_figure_that_cannot_be_drawn(reference_dir, monkeypatch):
    from lightning_interp.dashboards.figures import catalog

    def broken(run):
        raise ValueError("no such color <b>")

    monkeypatch.setattr(catalog, "timeline_figure", broken)
    page = Page(report_html([view_run(reference_dir)]))
    assert "This figure could not be drawn (ValueError: no such color <b>)." in page.words
    assert "run1-losses" in {attributes.get("data-figure") for attributes, _ in page.scripts}


def test_write_report_refuses_what_it_cannot_use(tmp_path):
    with pytest.raises(ConfigError, match="at least one"):
        write_report([])
    with pytest.raises(RunError, match="not a run directory"):
        write_report([tmp_path])
    with pytest.raises(ConfigError, match="no folder"):
        write_report([tmp_path], tmp_path / "missing")


@pytest.mark.parametrize("change", [{"configuration": [1]}, {"attempts": [{"attempt": 0, "resumed_at": "x"}]}])
def test_write_report_of_a_strange_run_says_so(tmp_path, change):
    path = make_reference_run(tmp_path, every=20)
    content = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(content | change))
    with pytest.raises(RunError, match=str(path)):
        write_report([path])


def test_write_report_leaves_nothing_half_written(reference_dir):
    write_report([reference_dir])
    assert not list(reference_dir.glob("*.tmp")) and not list(reference_dir.glob(".*.tmp"))


def test_boundary_changes_have_the_recorded_values(reference_dir):
    run = view_run(reference_dir)
    change = next(each for each in boundary_changes(run) if each.began == "cleanup")
    assert (change.ended, change.step, change.looked_at) == ("circuit_formation", 9800, (4900, 12_700))
    recorded = dict(zip(*run.series["heldout_loss"], strict=True))
    move = next(each for each in change.moves if each.name == "heldout_loss")
    assert (move.before, move.at, move.after) == (recorded[4900], recorded[9800], recorded[12_700])
    assert move.manner == "falls" and 0.5 < move.share <= 1.0


def test_boundary_changes_see_a_turn():
    """A norm that rises to a boundary and falls after it, by known shares of its range."""
    steps = list(range(0, 401, 10))
    norm = [float(step) if step <= 100 else 200.0 - step if step <= 200 else 0.0 for step in steps]
    phases = (Phase("memorization", 0, 100, 0.9, (0, 0), (90, 110)), Phase("cleanup", 100, None, 0.9, (90, 110)))
    run = view_history("turn", {"weight_norm": (steps, norm)}, Timeline("unknown", phases))
    (change,) = boundary_changes(run)
    (move,) = change.moves
    assert (move.before, move.at, move.after, move.manner) == (50.0, 100.0, 0.0, "turns down")
    assert move.share == pytest.approx(1.0)  # the larger of the rise of .5 and the fall of 1


def test_boundary_changes_never_take_a_value_of_another_step():
    """Numbers that are not finite are not recorded: a loss that is gone by then says nothing of the boundary."""
    steps = list(range(0, 2001, 100))
    phases = (Phase("fitting", 0, 1000, 0.9, (0, 0), (900, 1100)), Phase("collapse", 1000, None, 0.9, (900, 1100)))
    gone = [step for step in steps if step <= 600]
    series = {"weight_norm": (steps, [float(s) for s in steps]), "heldout_loss": (gone, [3.0 - s / 300 for s in gone])}
    (change,) = boundary_changes(view_history("gone", series, Timeline("diverged", phases)))
    assert [move.name for move in change.moves] == ["weight_norm"]


def test_boundary_changes_at_the_last_record_say_nothing_of_later():
    steps = list(range(0, 1001, 100))
    phases = (Phase("fitting", 0, 1000, 0.9, (0, 0), (900, 1100)), Phase("collapse", 1000, None, 0.9, (900, 1100)))
    run = view_history("last", {"weight_norm": (steps, [float(s) for s in steps])}, Timeline("collapse", phases))
    ((move,),) = [change.moves for change in boundary_changes(run)]
    assert (move.before, move.at, move.after, move.manner) == (500.0, 1000.0, None, "rises")
    assert "later" in Page(report_html([run])).words


def test_boundary_changes_leave_out_what_rests():
    steps = list(range(0, 401, 10))
    phases = (Phase("memorization", 0, 100, 0.9, (0, 0), (90, 110)), Phase("cleanup", 100, None, 0.9, (90, 110)))
    course = [0.0 if step < 300 else 1.0 for step in steps]
    run = view_history("rest", {"weight_norm": (steps, course)}, Timeline("unknown", phases))
    assert boundary_changes(run)[0].moves == ()


def test_status_words_say_what_is_pending(reference_dir):
    run = replace(view_run(reference_dir), analysis={"pending": 12, "stage": "running"})
    assert status_words(run) == "training finished, 12 snapshots not analyzed yet, recorded to step 16,000"


@pytest.mark.parametrize(
    ("value", "text"), [(float("nan"), "nan"), (-1234.5, "-1,234"), (1e-9, "1e-09"), (1e8, "1e+08"), (0.5, "0.5")]
)
def test_number_is_short(value, text):
    assert number(value) == text
