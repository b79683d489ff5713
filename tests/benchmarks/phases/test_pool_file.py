# SPDX-License-Identifier: Apache-2.0
import gzip
import json
import math

import pytest
from pool_file import read_index, read_pool

from lightning_interp.core.errors import MetricsError

FACTS = {"part": "calibration", "classes": 5, "weight_decay": 1.0, "answers_shuffled": 0.0, "cross_entropy": True}
HEAD = "step,train_loss,train_accuracy,heldout_loss,heldout_accuracy,weight_norm"
ROWS = ["0,1.6,0.2,1.6,0.2,10", "10,0.5,0.9,,0.2,11"]


@pytest.fixture
def pool(tmp_path):
    """Two runs; returns the folder."""
    for name in ("b", "a"):
        with (tmp_path / "index.jsonl").open("a") as index:
            index.write(json.dumps(FACTS | {"name": name}) + "\n")
        with gzip.open(tmp_path / f"{name}.csv.gz", "wt") as file:
            file.write("\n".join([HEAD, *ROWS]) + "\n")
    return tmp_path


def rewrite(path, lines):
    with gzip.open(path, "wt") as file:
        file.write("\n".join(lines) + "\n")


def test_a_pool_is_read_by_name(pool):
    assert [entry.facts["name"] for entry in read_pool(pool)] == ["a", "b"]


def test_an_empty_cell_is_nan(pool):
    values = read_pool(pool)[0].metrics["heldout_loss"]
    assert values[0] == 1.6 and math.isnan(values[1])


def test_a_run_of_one_row_is_read(pool):
    rewrite(pool / "a.csv.gz", [HEAD, ROWS[0]])
    assert read_pool(pool)[0].metrics["step"].tolist() == [0.0]


def test_a_line_broken_off_in_writing_is_left_out(pool):
    with (pool / "index.jsonl").open("a") as index:
        index.write('{"name": "c", "pa')
    assert [line["name"] for line in read_index(pool)] == ["b", "a"]


def test_a_name_cannot_lead_out_of_the_folder(pool):
    outside = pool.parent / "outside.csv.gz"
    rewrite(outside, [HEAD, *ROWS])
    (pool / "index.jsonl").write_text(json.dumps(FACTS | {"name": "../outside"}) + "\n")
    with pytest.raises(MetricsError, match=r"outside\.csv\.gz: cannot be read"):
        read_pool(pool)


def test_no_pool_is_told(tmp_path):
    with pytest.raises(MetricsError, match="no pool of runs"):
        read_pool(tmp_path)


def test_a_line_that_lacks_something_is_told(pool):
    (pool / "index.jsonl").write_text(json.dumps({"name": "a", "part": "x"}) + "\n")
    with pytest.raises(MetricsError, match="lacks classes, weight_decay"):
        read_pool(pool)


def test_a_line_that_is_no_json_is_told(pool):
    (pool / "index.jsonl").write_text("{no\n")
    with pytest.raises(MetricsError, match="a line is not a JSON object"):
        read_pool(pool)


@pytest.mark.parametrize("lines", [["step,train_loss", "0,1"], [HEAD]])
def test_missing_columns_or_rows_are_told(pool, lines):
    rewrite(pool / "a.csv.gz", lines)
    with pytest.raises(MetricsError, match=r"a\.csv\.gz: (no rows|cannot)"):
        read_pool(pool)


def test_a_file_broken_off_in_writing_is_told(pool):
    whole = (pool / "a.csv.gz").read_bytes()
    (pool / "a.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MetricsError, match="cannot be read"):
        read_pool(pool)
