# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_interp.errors import RunError
from lightning_interp.store import analyzer_lock

HOLDER = """
import fcntl, sys, time
handle = open(sys.argv[1] + "/analyzer.lock", "a")
fcntl.flock(handle, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of `tmp_path`; it takes it as `analyzer_lock` does, without importing torch."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
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


def test_analyzer_lock_excludes_a_second_process(tmp_path):
    attempt = "import fcntl, sys; fcntl.flock(open(sys.argv[1] + '/analyzer.lock'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    command = [sys.executable, "-c", attempt, str(tmp_path)]
    with analyzer_lock(tmp_path):
        during = subprocess.run(command, capture_output=True, text=True)
    after = subprocess.run(command, capture_output=True, text=True)
    assert "BlockingIOError" in during.stderr
    assert after.returncode == 0


def test_analyzer_lock_can_be_taken_again_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), analyzer_lock(tmp_path):
        raise ZeroDivisionError
    with analyzer_lock(tmp_path):
        pass
