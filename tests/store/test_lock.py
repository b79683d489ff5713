# SPDX-License-Identifier: Apache-2.0
"""The lock of a run directory, by `flock` and, as on a system without it, by SQLite."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_interp.core.errors import RunError
from lightning_interp.store import analyzer_lock, lock

TAKE = {
    "flock": "import fcntl; handle = open(path, 'a'); fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)",
    "SQLite": "import sqlite3; held = sqlite3.connect(path, 0, isolation_level=None); held.execute('BEGIN EXCLUSIVE')",
}
"""How another process takes the lock, without importing torch."""
REFUSED = {"flock": "BlockingIOError", "SQLite": "database is locked"}


@pytest.fixture(params=list(TAKE))
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(lock, "FILE_LOCKS", request.param == "flock")
    return str(request.param)


def command(kind: str, run_dir: Path, *, then: str = "") -> list[str]:
    return [
        sys.executable,
        "-c",
        f"import sys, time; path = sys.argv[1] + '/analyzer.lock'; {TAKE[kind]}{then}",
        str(run_dir),
    ]


@pytest.fixture
def holder(tmp_path: Path, kind: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of `tmp_path`."""
    holds = command(kind, tmp_path, then="; print('held', flush=True); time.sleep(60)")
    process = subprocess.Popen(holds, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_analyzer_lock_excludes_while_another_process_holds_it(tmp_path, holder):
    with pytest.raises(RunError, match="another analyzer works on this run"), analyzer_lock(tmp_path):
        pass


def test_analyzer_lock_is_free_when_its_holder_is_killed(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    with analyzer_lock(tmp_path, wait_s=60.0):
        pass


def test_analyzer_lock_excludes_a_second_process(tmp_path, kind):
    attempt = command(kind, tmp_path)
    with analyzer_lock(tmp_path):
        during = subprocess.run(attempt, capture_output=True, text=True)
    after = subprocess.run(attempt, capture_output=True, text=True)
    assert REFUSED[kind] in during.stderr
    assert after.returncode == 0


def test_analyzer_lock_can_be_taken_again_after_an_error(tmp_path, kind):
    with pytest.raises(ZeroDivisionError), analyzer_lock(tmp_path):
        raise ZeroDivisionError
    with analyzer_lock(tmp_path):
        pass


def test_analyzer_lock_leaves_an_empty_file(tmp_path, kind):
    with analyzer_lock(tmp_path):
        pass
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == {"analyzer.lock": 0}
