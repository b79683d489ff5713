# SPDX-License-Identifier: Apache-2.0
"""``phases --score`` on four runs of the real pool."""

import json
import shutil
from pathlib import Path

import pytest

from lightning_interp.cli.main import main

RUNS = Path(__file__).parents[2] / "benchmarks" / "phases" / "runs"
KINDS = {"add43-f0.6-mlp-d192-n5000-s0": "grokking", "add43-f0.6-shuffled-mlp-d192-n5000-s0": "memorization_only"}


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
    assert main(["phases", "--score", str(pool)]) == 0
    printed = capsys.readouterr().out
    for text in (
        "calibration: 2 runs",
        "unseen seed: 2 runs",
        "test: 2 runs",
        "early warning",
        "Hankel residual",
        "circuit formation",
    ):
        assert text in printed


def test_score_as_json_is_json_alone(pool, capsys):
    assert main(["phases", "--score", str(pool), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["test"]["kinds"] == {"grokking": 1, "memorization_only": 1}
    confusion = scores["test"]["timelines"]["all series"]["confusion"]
    assert sorted(confusion) == [["grokking", "grokking", 1], ["memorization_only", "memorization_only", 1]]


def test_score_draws_a_picture_that_needs_no_network(pool, tmp_path):
    picture = tmp_path / "score.html"
    assert main(["phases", "--score", str(pool), "--figure", str(picture)]) == 0
    page = picture.read_text()
    assert "Foreseeing generalization in 2 unseen runs" in page and "<script src=" not in page


def test_score_whose_picture_cannot_be_written_is_bad_input(pool, tmp_path, capsys):
    assert main(["phases", "--score", str(pool), "--figure", str(tmp_path / "no" / "score.html")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_score_of_an_empty_folder_is_bad_input(tmp_path, capsys):
    assert main(["phases", "--score", str(tmp_path)]) == 2
    assert "no pool of runs" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["phases"], ["phases", "a.csv", "--score", "pool"]])
def test_either_a_file_or_a_pool_is_asked_for(arguments, capsys):
    assert main(arguments) == 2
    assert "either a FILE or --score POOL" in capsys.readouterr().err
