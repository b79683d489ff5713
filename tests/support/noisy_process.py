# SPDX-License-Identifier: Apache-2.0
"""The noisy training in a process of its own, for tests that end it or its analyzer."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import noisy_training

from lightning_interp.store.layout import SNAPSHOTS, committed_steps

EVERY = 7
"""Steps from one snapshot to the next."""
STARTS_S = 120.0
ENDS_S = 240.0
"""Seconds a training may take to start, and to end: it waits up to 200 for its analyzer."""


@contextmanager
def training(root: Path, *options: str) -> "Iterator[subprocess.Popen[str]]":
    """A training in a process of its own, which does not outlive its test."""
    command = [sys.executable, noisy_training.__file__, str(root), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_step(root: Path, step: int, process: "subprocess.Popen[str]") -> None:
    """Until there is a snapshot of this step or a later one, or the training is held, which it is later still."""
    deadline = time.monotonic() + STARTS_S
    while max(committed_steps(root / "run" / SNAPSHOTS), default=-1) < step and not (root / noisy_training.HELD).exists():
        assert process.poll() is None and time.monotonic() < deadline, "training ended too early or did not start"
        time.sleep(0.002)


def analyzer_pids(run_dir: Path) -> set[int]:
    """Analyzer processes of a run directory, from the process table."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"lightning_interp.analysis.worker" in words and str(run_dir).encode() in words:
                found.add(int(entry.name))
    return found
