# SPDX-License-Identifier: Apache-2.0
"""Trainings in short turns, watched and not watched: whatever slows the machine for seconds or minutes slows both alike.

Either one training is watched in every second turn, or several trainings take turns, the others being halted with every
process they started. Two processes of the same training differ by some percent for as long as they live (where their memory
happens to lie), so that small differences show only within one.
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
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from lanes.training import SHARED_BYTES

SETTLE_S = 0.15
"""Time between a watched turn and one that is not, for what is still to be written."""
Turn = tuple[float, float]
"""From when to when a training ran, on the machine's monotonic clock."""


class Lane:
    """A training in a process of its own, halted whenever it is not its turn.

    Args:
        case: Name of the network.
        kind: Which monitor watches it.
        folder: What it writes, and its clock.
        threads: Threads of the training.
        device: ``cpu``, or ``cuda`` for the first GPU.
    """

    def __init__(self, case: str, kind: str, folder: Path, threads: int, *, device: str = "cpu") -> None:
        folder.mkdir()
        (folder / "shared").write_bytes(bytes(SHARED_BYTES))
        with (folder / "shared").open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), SHARED_BYTES)
        self.folder, self.turns, self.turns_alone = folder, list[Turn](), list[Turn]()
        path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lanes.training", case, kind, str(folder), str(threads), device],
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": str(threads), "TMPDIR": str(folder)},
        )
        os.waitpid(self._process.pid, os.WUNTRACED)  # it halts before it trains
        self._halted_at, self._halted, self._standing = _now(), [self._process.pid], True

    def __enter__(self) -> "Lane":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left behind, halted or not, however the measurement ended."""
        left = list(_children(self._process.pid))
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def take_turn(self, seconds: float) -> None:
        """Run for so long, all other lanes being halted."""
        self._go_on()
        self.turns.append(_sleep(seconds))
        self._halt(_with_children(self._process.pid))

    def take_turns(self, seconds: float, *, watched_first: bool) -> None:
        """Run for so long watched and for as long not watched: without the hook, the processes it started halted."""
        for watched in (watched_first, not watched_first):
            if watched:
                self._go_on()
                self.turns.append(_sleep(seconds))
            else:
                self._look_away()
                self.turns_alone.append(_sleep(seconds))

    def _look_away(self) -> None:
        """What was handed to the writer is written before the turn without it begins."""
        if self._standing:
            return
        struct.pack_into("d", self._shared, 16, _now())
        self._halt(_children(self._process.pid))
        _sleep(SETTLE_S)

    def end(self) -> list[float]:
        """End the training; returns when each of its steps ended."""
        struct.pack_into("d", self._shared, 8, 1.0)
        left = list(_children(self._process.pid))
        self._go_on()
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

    def _halt(self, pids: Iterable[int]) -> None:
        self._halted_at, self._halted, self._standing = _now(), [], True
        for pid in pids:
            with suppress(ProcessLookupError, FileNotFoundError):
                if _state(pid) != "T":  # the monitor halts its analyzer at times; that one is its own to let go
                    os.kill(pid, signal.SIGSTOP)
                    self._halted.append(pid)

    def _go_on(self) -> None:
        """Let go what was halted. Clocks of the training go on where they stood."""
        if not self._standing:
            return
        still = struct.unpack_from("d", self._shared)[0] + _now() - self._halted_at
        ends = struct.unpack_from("d", self._shared, 8)[0]
        struct.pack_into("3d", self._shared, 0, still, ends, 0.0)  # at once: between the two the clock would jump
        for pid in reversed(self._halted):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._halted, self._standing = [], False


def _sleep(seconds: float) -> Turn:
    started = _now()
    time.sleep(seconds)
    return started, _now()


def step_times(ends: list[float], turns: list[Turn]) -> list[list[float]]:
    """Seconds of every step that lies within a turn, turn by turn."""
    found = []
    for first, last in turns:
        inside = ends[bisect_left(ends, first) : bisect_right(ends, last)]
        found.append([b - a for a, b in itertools.pairwise(inside)])
    return found


def _with_children(pid: int) -> Iterator[int]:
    yield pid
    yield from _children(pid)


def _children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in task.read_text().split():
                yield from _with_children(int(child))


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _now() -> float:
    return time.clock_gettime(time.CLOCK_MONOTONIC)
