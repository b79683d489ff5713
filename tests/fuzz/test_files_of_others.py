# SPDX-License-Identifier: Apache-2.0
"""Seeded changes of real files: each is answered or refused in words; `make verify` takes 2,000 of each kind.

Run directories have a test of every single damage, too: tests/cli/test_damaged_run_directories.py.
"""

import os
import random
import sys
import time
from pathlib import Path

import file_fuzz
import fuzz_changes
import fuzz_formats
import fuzz_workers
import pytest

SHARE = 0.3
"""Least share of inputs that get past the parser: what refuses everything tests nothing."""
SHARE_OF_FEW = 0.15
"""As much of few inputs: 60 of which each passes with 35 % hold under 9 once in 10,000 times."""
FEW = {"metrics": 70, "checkpoints": 70, "runs": 60}
MANY = 2000


@pytest.fixture(scope="module", params=sorted(file_fuzz.KINDS))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def seeds(kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp(kind)
    file_fuzz.KINDS[kind][0](folder)
    return folder


def check(outcomes, share):
    told = file_fuzz.table(outcomes)
    print(told)
    assert {outcome.said for outcome in outcomes.values()} <= set(file_fuzz.GOOD), told
    assert [outcome.said for outcome in outcomes.values()].count("answered") >= share * len(outcomes), told


def test_no_file_ends_in_a_trace_or_hangs(kind, seeds):
    check(file_fuzz.fuzz(kind, 0, FEW[kind], seeds), SHARE_OF_FEW)


@pytest.mark.verify
@pytest.mark.timeout(3600)
def test_no_file_of_two_thousand_ends_in_a_trace_or_hangs(kind, seeds, tmp_path):
    job = {"coverage": tmp_path, "measured": file_fuzz.ROOMS[kind]}
    outcomes = file_fuzz.fuzz(kind, 0, MANY, seeds, job=job)
    print(file_fuzz.coverage_table(tmp_path))
    check(outcomes, SHARE)


def test_an_input_is_the_same_wherever_it_is_made(kind, seeds, tmp_path):
    def content(folder):
        folder.mkdir(parents=True)
        _, changed = file_fuzz.make_input(kind, 12, seeds, folder)
        return changed, {
            each.relative_to(folder): each.read_bytes()
            for each in folder.rglob("*")
            if each.is_file() and not each.is_symlink()
        }

    assert content(tmp_path / "one") == content(tmp_path / "other")


def test_records_are_taken_apart_and_put_together_with_right_checksums(tmp_path):
    file_fuzz.KINDS["metrics"][0](tmp_path)
    files = [each for each in tmp_path.rglob("*") if ".tfevents." in each.name or each.suffix == ".wandb"]
    assert len(files) >= 2
    for each in files:
        data = each.read_bytes()
        assert fuzz_formats.whole_again(each.name)(data) == data


def test_every_change_changes_something():
    table = b"step,loss,val_loss\n" + b"".join(b"%d,%d.5,%d.25\n" % (n, 30 - n, 40 - n) for n in range(20))
    text = b'{"a": [1, 2, {"b": 3}], "c": "word", "d": 0.5}\n{"a": [], "c": "other"}\n'
    for data, changes in ((table, fuzz_changes.ROWS), (text, fuzz_changes.LINES), (table, fuzz_changes.BYTES)):
        for change in changes:
            assert any(change(data, random.Random(n)) != data for n in range(20)), change.__name__


def _make_bad_worker(folder: str):
    """Answers all numbers but four, each of which does what one must not do."""

    def answer(number):
        if number == 3:
            time.sleep(60)
        elif number == 5:
            os._exit(7)
        elif number == 7:
            _ = b"x" * (1200 * 2**20)
        elif number == 9:
            return file_fuzz.outcome_of(_raises, Path(folder), Path(folder))
        return "answered"

    return answer


def _raises(path, folder):
    import numpy as np

    np.float64(1) / np.float64(0)
    return "answered"


@pytest.mark.skipif(sys.platform != "linux", reason="memory of another process is told by Linux only")
def test_hangs_deaths_memory_and_warnings_are_told_of_the_right_input(tmp_path):
    job = fuzz_workers.Job(_make_bad_worker, (str(tmp_path),), seconds=4)
    outcomes = {number: outcome.said for number, outcome in fuzz_workers.go_through(range(12), job).items()}
    assert {number: said for number, said in outcomes.items() if said != "answered"} == {
        3: "hang over 4 s",
        5: "the process died (7)",
        7: "memory over 1 GB",
        9: "RuntimeWarning in ?",
    }
    assert sorted(outcomes) == list(range(12))
