# SPDX-License-Identifier: Apache-2.0
"""The end of a training reaches its analyzer while code runs that never lets the interpreter go."""

import os
import signal
import subprocess
import sys
import time

import pytest

HANGS = """
import ctypes, signal, sys
from lightning_interp.analysis.worker import parent_death

parent_death.KERNEL_GRACE_S = int(sys.argv[2])
parent_death.plain_signals()
death = parent_death.DeathWatch(int(sys.argv[1]))
death.listen()
{before}
print("ready", flush=True)
ctypes.PyDLL(None).sleep(int(sys.argv[3]))
left = signal.getitimer(signal.ITIMER_REAL)[0]
ctypes.PyDLL(None).sleep(int(sys.argv[4]))
print(left, flush=True)
"""


def hang(
    *, first_s: int, second_s: int = 1, grace_s: int = 60, before: str = "", close_first: bool = False
) -> tuple[int, str]:
    """Exit status and last word of a process that holds its interpreter twice while the other end of its pipe is closed.

    A signal that comes in the first of these times ends it.
    """
    reading, writing = os.pipe()
    numbers = map(str, (reading, grace_s, first_s, second_s))
    command = [sys.executable, "-c", HANGS.format(before=before), *numbers]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=(reading,)) as process:
        try:
            os.close(reading)
            if close_first:
                os.close(writing)
            assert process.stdout.readline() == "ready\n"
            if not close_first:
                time.sleep(0.2)  # into the first time: a signal before it would not end it
                os.close(writing)
            return process.wait(120), process.stdout.read()
        finally:
            process.kill()


@pytest.mark.parametrize("close_first", [False, True])
def test_the_end_of_the_training_sets_an_alarm_without_python(close_first):
    # The pipe is closed in these 30 s, which the signal then ends; had it come before them, half a minute would be left.
    status, left = hang(first_s=1 if close_first else 30, close_first=close_first)
    assert status == 0
    assert 0 < float(left) <= 60  # nothing but the handler in the C library sets an alarm here


def test_an_analyzer_told_to_finish_outlives_its_training():
    assert hang(first_s=1, before="death.forget()") == (0, "0.0\n")


@pytest.mark.verify
def test_an_orphan_that_holds_its_interpreter_is_ended():
    # 34 is the least number of a real-time signal, and so the least grace.
    status, _ = hang(first_s=1000, second_s=1000, grace_s=34)
    assert status == -signal.SIGALRM
