# SPDX-License-Identifier: Apache-2.0
"""The `compare` command: tables, JSON, pictures, and what it says to bad input."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from compared_runs import STARTS, STEPS, activations, timeline, write_run

from lightning_interp.cli.main import main
from lightning_interp.core.timeline import Phase
from lightning_interp.dashboards import figures


@pytest.fixture
def runs(tmp_path):
    later = {name: round(1.5 * start) for name, start in STARTS.items()}
    first = write_run(tmp_path / "seed_0", found=timeline())
    return first, write_run(tmp_path / "seed_1", found=timeline(later, grokking_step=None))


def compare(*arguments):
    return main(["compare", *map(str, arguments)])


def printed(capsys):
    return " ".join(capsys.readouterr().out.split())


def test_compare_json_is_the_only_output(runs, capsys):
    assert compare(*runs, "--json") == 0
    captured = capsys.readouterr()
    content = json.loads(captured.out, parse_constant=pytest.fail)
    assert (content["schema"], content["reference"], captured.err) == (1, "seed_0", "")
    assert [run["name"] for run in content["runs"]] == ["seed_0", "seed_1"]
    cleanup = next(row for row in content["boundaries"] if row["name"] == "cleanup")
    assert cleanup["starts"] == {"seed_0": 3000, "seed_1": 4500}
    assert cleanup["summary"]["median"] == 3750


def test_compare_prints_every_table(runs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert compare(*runs) == 0
    text = printed(capsys)
    for part in (
        "seed_0 grokking (so far, training goes on) 8,000 0.0005 0.5 1 9",
        "cleanup 3,000 4,500 2,700 – 3,300 4,050 – 4,950",
        "cleanup 2 of 2 3,750 3,000 – 4,500 3,375 – 4,125 3,000 – 4,500 0.18 no",
        "held-out solved 1 of 2 4,000",
        "Representations at matched phases",
        "fitting act",
        "1 of 2 runs do not have it (yet)",
        "2 runs: even their whole range covers the median of all seeds with 50% only.",
    ):
        assert part in text


def test_compare_shows_runs_as_rows_where_there_are_many(runs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert compare(*runs, *runs, *runs, *runs) == 0
    assert "run warm up fitting memorization circuit formation cleanup converged held-out solved" in printed(capsys)


def test_compare_cuts_no_number_short_on_a_narrow_terminal(runs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert compare(*runs) == 0
    assert "…" not in capsys.readouterr().out


def test_compare_says_what_it_could_not_do(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    bare = write_run(tmp_path / "bare")
    assert compare(runs[0], bare) == 0
    text = printed(capsys)
    assert "bare, phases: no timeline yet; finish the analysis: lightning-interp analyze" in text
    assert "bare, phase time: the run has no phases." in text
    assert "No similarity: no phases are known of bare." in text


def test_compare_names_layers_that_are_missing(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    other = write_run(tmp_path / "b", found=timeline(), layers={"late": activations(STEPS)})
    assert compare(runs[0], other) == 0
    assert "End of fitting, layer late: not stored in seed_0." in printed(capsys)


def test_names_from_a_run_reach_the_terminal_as_plain_text(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    hostile = "x\x1b[31m[red]y\x07"
    phases = (*timeline().phases[:-1], Phase(hostile, 5000, None, 0.5, (5000, 5000)))
    found = replace(timeline(), verdict=hostile, phases=phases)
    layers = {hostile: activations(STEPS), "act": activations(STEPS)}
    run = write_run(tmp_path / hostile, found=found, layers=layers)
    other = write_run(tmp_path / f"b{hostile}", found=found, layers={hostile: activations(STEPS)})
    assert compare(run, other) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text and "\x07" not in text
    assert "x\\x1b[31m[red]y\\x07" in text


@pytest.mark.parametrize("count", [2, 3])
def test_compare_writes_a_page(runs, tmp_path, capsys, count):
    target = tmp_path / "compare.html"
    assert compare(*(runs * 2)[:count], "--json", "--figure", target) == 0
    captured = capsys.readouterr()
    assert f"Picture: {target}" in captured.err and json.loads(captured.out)
    assert "plotly" in target.read_text(encoding="utf-8").lower()


def test_compare_writes_an_image(runs, tmp_path, monkeypatch, capsys):
    written = []
    monkeypatch.setattr(figures, "write_image", lambda figure, path: written.append(path))
    assert compare(*runs, "--figure", tmp_path / "compare.png") == 0
    assert written == [tmp_path / "compare.png"]
    assert "Picture: " in capsys.readouterr().err


def test_compare_without_a_browser_is_bad_input(runs, tmp_path, monkeypatch, capsys):
    def refuse(figure, path):
        raise RuntimeError("no Chrome")

    monkeypatch.setattr(figures, "write_image", refuse)
    assert compare(*runs, "--figure", tmp_path / "compare.png") == 2
    assert "no image could be made (no Chrome). Install `lightning-interp[dashboards]`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seed_0"], "needs two or more run directories, got 1"),
        (["seed_0", "nowhere"], "not a run directory"),
        ([], "RUN_DIR"),
        (["seed_0", "seed_1", "--figure", "x.pdf"], "expected a name that ends in .html or .png"),
        (["seed_0", "seed_1", "--figure", "no/x.html"], "does not exist"),
    ],
)
def test_compare_returns_2_for_bad_input(runs, capsys, arguments, message):
    assert compare(*arguments) == 2
    captured = capsys.readouterr()
    assert (message in captured.err, captured.out) == (True, "")


def test_compare_help_has_an_example_and_loads_nothing_heavy():
    code = (
        "import sys; from lightning_interp.cli.main import main; code = main(['compare', '--help']); "
        "print(code, [m for m in ('torch', 'lightning', 'wandb', 'numpy', 'plotly', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "lightning-interp compare runs/seed_0 runs/seed_1" in done.stdout
    assert done.stdout.splitlines()[-1] == "0 []"


def test_compare_is_among_the_commands(capsys):
    assert main(["--help"]) == 0
    assert "compare" in capsys.readouterr().out
