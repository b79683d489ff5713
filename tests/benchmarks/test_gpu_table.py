# SPDX-License-Identifier: Apache-2.0
"""Rows, time and isolation of the sections of `make bench-gpu`."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest


def test_repeated_says_how_many_repeats_there_was_time_for() -> None:
    from gpu_parts.rows import repeated

    row = repeated("time", [2.0, 1.0, 3.0], "s", wanted=5)
    assert (row.value, row.spread, row.note) == (2.0, "[1 .. 3]", "3 of 5 repeats, time was short")


@pytest.mark.parametrize(("held", "verdict"), [(True, "held"), (False, "missed"), (None, "")])
def test_verdict_of_a_claim(held: bool | None, verdict: str) -> None:
    from gpu_parts.rows import verdict_of

    assert verdict_of(held) == verdict


def test_broken_tells_a_missing_package_from_a_failure() -> None:
    from gpu_parts.rows import broken

    absent, wrong = broken("x", ModuleNotFoundError("No module named 'wandb'", name="wandb")), broken("x", ValueError("no"))
    assert (absent.verdict, absent.note) == ("not run", "wandb is not installed")
    assert (wrong.verdict, wrong.note) == ("failed", "ValueError: no")


def test_broken_takes_a_part_of_ours_that_is_gone_for_a_failure() -> None:
    from gpu_parts.rows import broken

    assert broken("x", ModuleNotFoundError("gone", name="lightning_interp.tca")).verdict == "failed"


def test_markdown_has_a_cell_for_every_column_whatever_a_note_holds() -> None:
    from gpu_parts.rows import COLUMNS, Row, markdown

    lines = markdown([("tca", Row("a | b", 0.5, "s", note="two\nlines | here"))]).splitlines()
    assert [line.count("|") for line in lines] == [len(COLUMNS) + 1] * 3


def test_rounds_stops_where_another_repeat_would_not_fit() -> None:
    from gpu_parts.setting import Budget

    now = [0.0]
    done = []
    for repeat in Budget(10, clock=lambda: now[0]).rounds(9, least=2):
        done.append(repeat)
        now[0] += 3.0
    assert done == [0, 1, 2]


def test_rounds_does_the_least_in_any_case() -> None:
    from gpu_parts.setting import Budget

    assert list(Budget(0.0).rounds(9, least=2)) == [0, 1]


def test_shares_leave_no_section_beyond_the_whole_time() -> None:
    from gpu_parts.sections import WEIGHTS, shares

    left, names = 570.0, list(WEIGHTS)
    for done in range(len(names)):
        left -= shares(names, left, done=done)
    assert left == pytest.approx(0.0, abs=1e-6)


@pytest.fixture
def section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes an order for a section whose parts are given as the text of a module."""
    from gpu_parts import sections

    def make(parts: str, *, seconds: float = 60.0) -> sections.Order:
        head = "from gpu_parts.rows import Row\nimport os, time\n"
        (tmp_path / "gpu_parts_under_test").mkdir()
        (tmp_path / "gpu_parts_under_test" / "planted.py").write_text(head + parts)
        code = f"import sys, gpu_parts; gpu_parts.__path__.append({str(tmp_path / 'gpu_parts_under_test')!r})\n"
        (tmp_path / "sitecustomize.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return sections.Order("planted", "cpu", True, seconds, str(tmp_path / "scratch"), str(tmp_path / "gpu"))

    return make


def test_a_part_that_fails_costs_neither_its_rows_nor_the_next_part(section: Any) -> None:
    from gpu_parts.sections import in_own_process

    rows = in_own_process(
        section(
            "def one(setting):\n    yield Row('first', 1)\n    raise ValueError('broken here')\n"
            "def two(setting):\n    yield Row('second', 2)\nPARTS = {'one': one, 'two': two}\n"
        )
    )
    assert [(row.name, row.verdict) for row in rows] == [("first", ""), ("one", "failed"), ("second", "")]


def test_a_section_that_hangs_is_ended_and_keeps_its_rows(section: Any) -> None:
    from gpu_parts.sections import in_own_process

    order = section("def one(setting):\n    yield Row('first', 1)\n    time.sleep(600)\nPARTS = {'one': one}\n")
    started = time.monotonic()
    rows = in_own_process(replace(order, seconds=3.0))
    assert time.monotonic() - started < 60
    assert [row.name for row in rows] == ["first", "planted"]
    assert rows[-1].note == "stopped at its limit of 3 s"


def test_a_section_whose_process_dies_is_a_row(section: Any) -> None:
    from gpu_parts.sections import in_own_process

    rows = in_own_process(section("def one(setting):\n    yield Row('first', 1)\n    os._exit(3)\nPARTS = {'one': one}\n"))
    assert [(row.name, row.verdict) for row in rows] == [("first", ""), ("planted", "failed")]
    assert "ended with 3" in rows[-1].note


def test_outcomes_names_tests_that_failed(tmp_path: Path) -> None:
    from gpu_parts.marked_tests import outcomes

    (tmp_path / "junit.xml").write_text(
        "<testsuites><testsuite><testcase classname='tests.tca.test_gpu' name='test_a'/>"
        "<testcase classname='tests.tca.test_gpu' name='test_b'><failure message='assert 1 == 2'/></testcase>"
        "</testsuite></testsuites>"
    )
    assert outcomes(tmp_path / "junit.xml") == (["test_gpu::test_a"], {"test_gpu::test_b": "assert 1 == 2"})


@pytest.mark.parametrize(
    ("apart", "verdict"), [(0.0, "held"), (2e-5, "missed")], ids=["as good as tensorly", "tensorly is better"]
)
def test_errors_row_compares_with_the_best_start_at_each_rank(apart: float, verdict: str) -> None:
    from gpu_parts.tca import errors_row
    from tca_parts.peers import PeerFit

    fits = [PeerFit(rank, 1.0, (), error) for rank, error in ((1, 0.5), (1, 0.6), (2, 0.3 - apart), (2, 0.4))]
    assert errors_row(fits, {1: 0.5, 2: 0.3}).verdict == verdict


def test_row_of_a_training_that_is_not_deterministic_fails() -> None:
    from gpu_parts.neutrality import row_of

    from lightning_interp.neutrality import Difference, NeutralityReport

    report = NeutralityReport(300, 302, 11, 8, 4, observed=20, control=(Difference(7, "tensor", "net.0.weight"),))
    row = row_of("float32, eager", report, 30.0)
    assert row.verdict == "failed"
    assert "not deterministic" in row.note and "net.0.weight from step 7" in row.note


@pytest.mark.parametrize(
    ("name", "allowed_apart"), [("weight_norm", 1e-9), ("train_loss", 4.6e-4), ("train_accuracy", 1 / 512)]
)
def test_allowed_difference_from_the_cpu(name: str, allowed_apart: float) -> None:
    from gpu_parts.replica import allowed

    assert allowed(name, 1.0, examples=512) == pytest.approx(allowed_apart, rel=0.02)
