# SPDX-License-Identifier: Apache-2.0
"""The end of a training reaches its analyzer while code runs that never lets the interpreter go."""

import os
import signal
import subprocess
import sys

import pytest

HANGS = """
import ctypes, signal, sys
from lightning_interp.analysis import orphan

orphan.KERNEL_GRACE_S = int(sys.argv[2])
orphan.plain_signals()
death = orphan.DeathWatch(int(sys.argv[1]))
death.listen()
{before}
print("ready", flush=True)
ctypes.PyDLL(None).sleep(int(sys.argv[3]))
left = signal.getitimer(signal.ITIMER_REAL)[0]
ctypes.PyDLL(None).sleep(int(sys.argv[3]))
print(left, flush=True)
"""


def hang(*, seconds: int, grace_s: int = 60, before: str = "", close_first: bool = False) -> tuple[int, str]:
    """Exit status and last word of a process that holds its interpreter twice while the other end of its pipe is closed."""
    reading, writing = os.pipe()
    command = [sys.executable, "-c", HANGS.format(before=before), str(reading), str(grace_s), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=(reading,)) as process:
        os.close(reading)
        if close_first:
            os.close(writing)
        assert process.stdout.readline() == "ready\n"
        if not close_first:
            os.close(writing)
        return process.wait(120), process.stdout.read()


@pytest.mark.parametrize("close_first", [False, True])
def test_the_end_of_the_training_sets_an_alarm_without_python(close_first):
    status, left = hang(seconds=2, close_first=close_first)
    assert status == 0
    assert 0 < float(left) <= 60  # nothing but the handler in the C library sets an alarm here


def test_an_analyzer_told_to_finish_outlives_its_training():
    assert hang(seconds=1, before="death.forget()") == (0, "0.0\n")


@pytest.mark.verify
def test_an_orphan_that_holds_its_interpreter_is_ended():
    # 34 is the least number of a real-time signal, and so the least grace.
    status, _ = hang(seconds=1000, grace_s=34)
    assert status == -signal.SIGALRM
