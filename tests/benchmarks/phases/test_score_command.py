# SPDX-License-Identifier: Apache-2.0
"""`make bench-phases` on four runs of the real pool."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import score
from pool_file import RUNS

KINDS = {"add43-f0.6-mlp-d192-n5000-s0": "grokking", "add43-f0.6-shuffled-mlp-d192-n5000-s0": "memorization_only"}
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Two runs for calibration, and the same two called unseen."""
    folder = tmp_path_factory.mktemp("pool")
    lines = [json.loads(line) for line in (RUNS / "index.jsonl").read_text().splitlines()]
    with (folder / "index.jsonl").open("w") as index:
        for line in lines:
            if line["name"] in KINDS:
                for part in ("calibration", "unseen_seed"):
                    name = f"{part}-{line['name']}"
                    shutil.copy(RUNS / f"{line['name']}.csv.gz", folder / f"{name}.csv.gz")
                    index.write(json.dumps(line | {"name": name, "part": part}) + "\n")
    return folder


def test_score_prints_a_table_for_every_part(pool, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    assert score.main([str(pool)]) == 0
    printed = capsys.readouterr()
    for text in (
        "calibration: 2 runs",
        "unseen seed: 2 runs",
        "test: 2 runs",
        "early warning",
        "Hankel residual",
        "circuit formation",
        "verdicts on 2 runs in 2 configurations",
        "groks left in memorization",
    ):
        assert text in printed.out
    parts = ("calibration", "unseen_seed", "test")
    told = [f"  {what}: {part}" for what in ("scored", "verdicts") for part in parts]
    assert printed.err.splitlines() == [f"4 runs in {pool}", *told]


def test_score_as_json_is_json_alone(pool, capsys):
    assert score.main([str(pool), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["test"]["kinds"] == {"grokking": 1, "memorization_only": 1}
    confusion = scores["test"]["timelines"]["all series"]["confusion"]
    assert sorted(scores["verdicts"]) == ["calibration", "test", "unseen_seed"]
    assert sorted(confusion) == [["grokking", "grokking", 1], ["memorization_only", "memorization_only", 1]]


def test_score_draws_a_picture_that_needs_no_network(pool, tmp_path):
    picture = tmp_path / "score.html"
    assert score.main([str(pool), "--figure", str(picture)]) == 0
    page = picture.read_text()
    assert "Foreseeing generalization in 2 unseen runs" in page and "<script src=" not in page


def test_score_whose_picture_cannot_be_written_is_bad_input(pool, tmp_path, capsys):
    assert score.main([str(pool), "--figure", str(tmp_path / "no" / "score.html")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_score_of_one_part_under_one_fact_looks_at_nothing_else(pool, capsys):
    assert score.main([str(pool), "--json", "--part", "unseen_seed", "--facts", "none"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert sorted(scores["verdicts"]) == ["unseen_seed"] and "calibration" not in scores
    assert {row["told"] for row in scores["verdicts"]["unseen_seed"]["verdicts"]} == {"none"}


def test_score_of_an_empty_folder_is_bad_input(tmp_path, capsys):
    assert score.main([str(tmp_path)]) == 2
    assert "no pool of runs" in capsys.readouterr().err


def test_score_runs_as_the_makefile_starts_it_and_teaches_its_use():
    line = next(line for line in (REPOSITORY / "Makefile").read_text().splitlines() if "site/phase-scores.html" in line)
    script = next(word for word in line.split() if word.endswith(".py"))
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, script, "--help"]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert f"python {script} --figure scores.html" in done.stdout
