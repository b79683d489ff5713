# SPDX-License-Identifier: Apache-2.0
"""Every command that reads a run directory, on run directories that are damaged: an error of ours or a result, no trace.

Which damage there is and which commands read is in `damaged_run`. `make test` takes a part of the pairs, the same each time;
`make verify` takes all.
"""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import damaged_run
import pytest

from lightning_interp.cli.main import main
from lightning_interp.store.jsonl import LONGEST_LINE, cut_torn_tail, read_lines

LONGEST_S = 20
MOST_BYTES = 200 * 2**20
"""What reading a file without an end may add to a process."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return damaged_run.make_whole_run(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def damage(whole: Path, tmp_path: Path) -> Callable[[str, damaged_run.Mutation], Path]:
    """A copy of the whole run with one file changed."""

    def make(file: str, change: damaged_run.Mutation) -> Path:
        path = tmp_path / "damaged"
        if path.exists():
            shutil.rmtree(path)
        shutil.copytree(whole, path, symlinks=True)
        change(path / file)
        return path

    return make


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Fail if the block takes longer, also where it waits for the system."""

    def end(*_: object) -> None:
        raise AssertionError(f"hangs for over {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def faults_of(whole: Path, damage: Callable[..., Path], out: Path, capsys: Any, chosen: list[Any]) -> list[str]:
    """What went wrong in pairs of a mutation and a command."""
    found = []
    for (file, name, change), command in chosen:
        run_dir = damage(file, change)
        try:
            with at_most(LONGEST_S):
                code = damaged_run.commands(run_dir, whole, out)[command]()
        except Exception as err:
            found.append(f"{command}: {file}: {name}: {type(err).__name__}: {err}")
            continue
        said = capsys.readouterr().err
        if code not in (0, 1, 2) or "Traceback" in said:
            found.append(f"{command}: {file}: {name}: {code}: {said[-600:]}")
    return found


def pairs(whole: Path) -> list[Any]:
    names = list(damaged_run.commands(whole, whole, whole))
    return [(mutation, name) for mutation in damaged_run.mutations() for name in names]


def test_no_command_ends_in_a_trace_or_hangs(whole, damage, tmp_path, capsys):
    chosen = random.Random(0).sample(pairs(whole), 120)
    assert faults_of(whole, damage, tmp_path / "out", capsys, chosen) == []


@pytest.mark.verify
@pytest.mark.timeout(3600)
def test_no_command_ends_in_a_trace_or_hangs_on_any_damage(whole, damage, tmp_path, capsys):
    assert faults_of(whole, damage, tmp_path / "out", capsys, pairs(whole)) == []


@pytest.mark.parametrize("file", [*damaged_run.JSON, *damaged_run.LINES, *damaged_run.TENSORS, *damaged_run.OTHERS])
@pytest.mark.parametrize("kind", ["a FIFO", "a link to zeros", "a link to itself", "a folder"])
def test_what_is_no_file_is_refused_at_once(whole, damage, tmp_path, capsys, file, kind):
    chosen = [((file, kind, damaged_run.PLACES[kind]), name) for name in ("status", "phases", "export", "analyze")]
    assert faults_of(whole, damage, tmp_path / "out", capsys, chosen) == []


@pytest.mark.parametrize("file", damaged_run.LINES)
@pytest.mark.parametrize("line", [b"\x00\xff{garbage\n", b"[1]\n", b'{"step": "4", "attempt": 0, "values": {}}\n'])
def test_one_bad_line_is_named_and_costs_only_itself(whole, damage, capsys, caplog, file, line):
    run_dir = damage(file, lambda path: damaged_run.change_line(path, 2, lambda _: line))
    assert main(["status", str(run_dir), "--json"]) == 0
    named = [record.message for record in caplog.records if f"{file}, line 3: left out" in record.message]
    assert len(named) == 1
    rows, _ = read_lines(run_dir / file, check=lambda row: None if isinstance(row.get("step", 0), int) else "no step")
    assert len(rows) == len((whole / file).read_bytes().splitlines()) - 1


def test_a_wrong_field_names_file_and_field(damage, capsys):
    run_dir = damage("run.json", lambda path: damaged_run.set_field(path, ("layers",), "fc1"))
    assert main(["status", str(run_dir)]) == 2
    assert "run.json: `layers` should be tuple[str, ...], not 'fc1'" in capsys.readouterr().err


def test_a_field_of_the_analyzer_costs_only_itself(damage, capsys, caplog):
    run_dir = damage("analysis.json", lambda path: damaged_run.set_field(path, ("notices",), 7))
    assert main(["status", str(run_dir)]) == 0
    assert "analysis.json: `notices` should be list[str], not 7" in caplog.text


def test_seeds_of_twenty_digits_are_read(damage, capsys):
    seeds = {"torch": 2**64 - 1}
    entry = {"attempt": 0, "command": [], "directory": "", "repository": "", "commit": None, "branch": None, "changed": None}
    run_dir = damage(
        "run.json", lambda path: damaged_run.set_field(path, ("configuration", "provenance"), [{**entry, "seeds": seeds}])
    )
    from lightning_interp.store import read_manifest

    assert read_manifest(run_dir).provenance[0].seeds == seeds


@pytest.mark.parametrize(
    ("command", "file", "damage_name"),
    [
        ("status", "records.jsonl", "sparse"),
        ("phases", "records.jsonl", "sparse"),
        ("status", "health.jsonl", "sparse"),
        ("export", "records.jsonl", "a link to zeros"),
        ("status", "run.json", "sparse"),
    ],
)
def test_memory_stays_bounded(damage, tmp_path, command, damage_name, file):
    change = {**damaged_run.CONTENTS, **damaged_run.PLACES}[damage_name]
    run_dir = damage(file, change)
    code = (
        "import resource, sys; from lightning_interp.cli.main import main; import lightning_interp.store.run; "
        "import lightning_interp.dashboards.run_summary, lightning_interp.posthoc.run_history, xarray; "
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; main(sys.argv[1:]); "
        "print('grew', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    target = ["-o", str(tmp_path / "out.csv")] if command == "export" else []
    arguments = [sys.executable, "-c", code, command, str(run_dir), *target]
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30,) * 2)  # noqa: E731
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, preexec_fn=limit, env={**os.environ})
    assert "Traceback" not in done.stderr
    grew = int(done.stdout.rsplit("grew ", 1)[1]) * 1024
    assert grew < MOST_BYTES, grew


def test_a_line_without_an_end_is_skipped(tmp_path, caplog):
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'{"a":1}\n' + b"x" * (LONGEST_LINE + 5) + b'\n{"a":2}\n')
    assert [row["a"] for row in read_lines(path)[0]] == [1, 2]
    assert "line 2: left out (over 16 MiB" in caplog.text


def test_a_torn_tail_of_many_parts_is_cut(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'{"a":1}\n' + b"x" * (3 * 2**20))
    assert cut_torn_tail(path) == 3 * 2**20
    assert path.read_bytes() == b'{"a":1}\n'


def test_export_names_a_measure_with_too_few_layers(damage, tmp_path, capsys):
    change = damaged_run.in_line(2, layers={"hoyer": [1.0]})
    assert main(["export", str(damage("records.jsonl", change)), "-o", str(tmp_path / "out.csv")]) == 2
    assert "records.jsonl, step 2: 'hoyer' has 1 values" in capsys.readouterr().err
