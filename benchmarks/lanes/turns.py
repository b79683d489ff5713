# SPDX-License-Identifier: Apache-2.0
"""Trainings side by side in short turns: whatever slows the machine for seconds or minutes slows all of them alike.

While one training runs, the others are halted with every process they started, an analyzer among them.
"""

import itertools
import mmap
import os
import signal
import struct
import subprocess
import sys
import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lanes.training import SHARED_BYTES

Turn = tuple[float, float]
"""From when to when a training ran, on the machine's monotonic clock."""


class Lane:
    """A training in a process of its own, halted whenever it is not its turn.

    Args:
        case: Name of the network.
        kind: Which monitor watches it.
        folder: What it writes, and its clock.
        threads: Threads of the training.
    """

    def __init__(self, case: str, kind: str, folder: Path, threads: int) -> None:
        folder.mkdir()
        (folder / "shared").write_bytes(bytes(SHARED_BYTES))
        with (folder / "shared").open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), SHARED_BYTES)
        self.folder, self.turns = folder, list[Turn]()
        here = Path(__file__).parents[1]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lanes.training", case, kind, str(folder), str(threads)],
            env=os.environ | {"PYTHONPATH": str(here), "OMP_NUM_THREADS": str(threads), "TMPDIR": str(folder)},
        )
        os.waitpid(self._process.pid, os.WUNTRACED)  # it halts before it trains
        self._halted_at, self._halted = _now(), [self._process.pid]

    def take_turn(self, seconds: float) -> None:
        """Run for so long."""
        started = _now()
        struct.pack_into("d", self._shared, 0, struct.unpack_from("d", self._shared)[0] + started - self._halted_at)
        self._let_go()
        time.sleep(seconds)
        self.turns.append((started, _now()))
        self._halt()

    def end(self) -> list[float]:
        """End the training and whatever it leaves behind; returns when each of its steps ended."""
        struct.pack_into("d", self._shared, 8, 1.0)
        left = list(_with_children(self._process.pid))
        self._let_go()
        self._process.wait()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ends = array("d")
        ends.frombytes((self.folder / "ends").read_bytes())
        return ends.tolist()

    @property
    def peak_mb(self) -> float:
        """Most memory the training process had at a time, once it has ended."""
        return int((self.folder / "peak_kb").read_text()) / 1024

    def _halt(self) -> None:
        self._halted_at, self._halted = _now(), []
        for pid in _with_children(self._process.pid):
            with suppress(ProcessLookupError, FileNotFoundError):
                if _state(pid) != "T":  # the monitor halts its analyzer at times; that one is its own to let go
                    os.kill(pid, signal.SIGSTOP)
                    self._halted.append(pid)

    def _let_go(self) -> None:
        for pid in reversed(self._halted):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def step_times(ends: list[float], turns: list[Turn]) -> list[list[float]]:
    """Seconds of every step that lies within a turn, turn by turn."""
    found = []
    for first, last in turns:
        inside = ends[bisect_left(ends, first) : bisect_right(ends, last)]
        found.append([b - a for a, b in itertools.pairwise(inside)])
    return found


def _with_children(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in task.read_text().split():
                yield from _with_children(int(child))


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _now() -> float:
    return time.clock_gettime(time.CLOCK_MONOTONIC)
