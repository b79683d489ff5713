# SPDX-License-Identifier: Apache-2.0
"""Processes that go through numbered inputs one by one; one that takes too long or too much memory is ended.

A worker is told one number at a time, so that it is known whose fault it is when it hangs, grows or dies.
"""

import contextlib
import io
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

MEMORY_MB = 1000
READY_S = 180
"""Longest start of a worker: it imports, and warms up."""
Answer = Callable[[int], str]


@dataclass(frozen=True)
class Outcome:
    """What became of an input: in words, in how many seconds, and how many MB the process grew by at most."""

    said: str
    seconds: float = 0.0
    grew_mb: int = 0


@dataclass(frozen=True)
class Job:
    """What workers do.

    Attributes:
        make: Called once in each worker; gives the function from the number of an input to what became of it.
        arguments: For `make`.
        seconds: Longest time for one input.
        coverage: Folder for coverage data, None without.
        measured: Folder of the package whose coverage is taken.
    """

    make: Callable[..., Answer]
    arguments: tuple[object, ...]
    seconds: float = 20
    coverage: Path | None = None
    measured: tuple[str, ...] = field(default=())


def memory_mb(pid: int | str, name: str) -> int:
    """`VmRSS` or `VmHWM` of a process in MB, 0 where the system does not tell."""
    with contextlib.suppress(OSError, StopIteration):
        status = Path(f"/proc/{pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name)) // 1024
    return 0


def _forget_peak() -> None:
    with contextlib.suppress(OSError):  # only Linux can
        Path("/proc/self/clear_refs").write_text("5")


@contextlib.contextmanager
def _measured(job: Job) -> Iterator[None]:
    if job.coverage is None:
        yield
        return
    from coverage import Coverage

    taken = Coverage(
        data_file=str(job.coverage / "coverage"), data_suffix=True, source=list(job.measured), config_file=False
    )
    taken.start()
    try:
        yield
    finally:
        taken.stop()
        taken.save()


def _work(job: Job, pipe: Connection) -> None:
    with contextlib.suppress(OSError):
        os.setsid()  # what a worker starts ends with it
    with _measured(job):
        answer = job.make(*job.arguments)
        sys.stdout = sys.stderr = io.StringIO()
        pipe.send(None)
        while (number := pipe.recv()) is not None:
            _forget_peak()
            before, began = memory_mb("self", "VmRSS"), time.monotonic()
            said = answer(number)
            outcome = Outcome(said, time.monotonic() - began, memory_mb("self", "VmHWM") - before)
            sys.stdout = sys.stderr = io.StringIO()
            pipe.send(outcome)
    pipe.send(None)


class _Worker:
    """A process, the number it works on, and what it is told by."""

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.job, self.ready = job, False
        self.process = context.Process(target=_work, args=(job, theirs))
        self.process.start()
        theirs.close()
        self.since, self.base_mb = time.monotonic(), 0
        self.number: int | None = None

    def give(self, number: int | None) -> None:
        self.number, self.since = number, time.monotonic()
        self.base_mb = memory_mb(self.process.pid or 0, "VmRSS")
        with contextlib.suppress(OSError):
            self.pipe.send(number)

    def complaint(self) -> str | None:
        """Why it has to be ended, None if it need not be."""
        seconds = time.monotonic() - self.since
        if not self.ready:
            return f"no worker is ready within {READY_S} s" if seconds > READY_S else None
        if self.number is not None and seconds > self.job.seconds:
            return f"hang over {self.job.seconds:g} s"
        grew = memory_mb(self.process.pid or 0, "VmRSS") - self.base_mb
        return "memory over 1 GB" if self.number is not None and grew > MEMORY_MB else None

    def end(self) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self.pipe.close()


def go_through(numbers: Sequence[int], job: Job, *, processes: int = 2) -> dict[int, Outcome]:
    """Outcome of each input.

    Raises:
        RuntimeError: No worker starts.
    """
    outcomes: dict[int, Outcome] = {}
    todo = list(reversed(numbers))
    workers = [_Worker(job) for _ in range(min(processes, len(todo)))]
    try:
        while workers:
            ready = wait([each.pipe for each in workers], timeout=0.2)
            for worker in list(workers):
                said = _take(worker, todo, outcomes) if worker.pipe in ready else worker.complaint()
                if said is not None:
                    workers.remove(worker)
                    workers += _after(worker, said, todo, outcomes)
    finally:
        for worker in workers:
            worker.end()
    return outcomes


def _take(worker: _Worker, todo: list[int], outcomes: dict[int, Outcome]) -> str | None:
    """Take in what a worker says and give it the next number; returns why it is over, None if it goes on."""
    try:
        outcome = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join(5)
        return f"the process died ({worker.process.exitcode})"
    if worker.ready and worker.number is None:
        return "done"
    if worker.number is not None:
        large = outcome.grew_mb > MEMORY_MB
        outcomes[worker.number] = Outcome("memory over 1 GB", outcome.seconds, outcome.grew_mb) if large else outcome
        if outcome.seconds > worker.job.seconds:
            outcomes[worker.number] = Outcome(f"hang over {worker.job.seconds:g} s", outcome.seconds, outcome.grew_mb)
    worker.ready = True
    worker.give(todo.pop() if todo else None)
    return None


def _after(worker: _Worker, said: str, todo: list[int], outcomes: dict[int, Outcome]) -> list[_Worker]:
    """End a worker and, if there is more to do, begin another in its place."""
    worker.end()
    if worker.number is None and not worker.ready:
        raise RuntimeError(f"a worker did not start: {said}")
    if worker.number is not None:
        outcomes[worker.number] = Outcome(said, time.monotonic() - worker.since)
    return [_Worker(worker.job)] if todo else []
