# SPDX-License-Identifier: Apache-2.0
"""A measure that dies, hangs, dawdles or runs out of memory at given steps, importable by name as a user's would be."""

import ctypes
import os
import resource
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from lightning_interp import Measure

DAWDLES_S = 0.5


class Deadly(Measure):
    """Worth 1 at every step at which it does nothing else.

    Args:
        does: Name of a method below by step.
    """

    name: ClassVar[str] = "deadly"
    names: ClassVar[tuple[str, ...]] = ("deadly",)
    needs: ClassVar[frozenset[Any]] = frozenset({"weights"})

    def __init__(self, does: Mapping[int, str]) -> None:
        self.does = dict(does)

    def __call__(self, observation: Any) -> Mapping[str, float]:
        if (step := observation.snapshot.step) in self.does:
            getattr(self, self.does[step])()
        return {"deadly": 1.0}

    def dies(self) -> None:
        """As by the kernel, which wants its memory back."""
        os.kill(os.getpid(), signal.SIGKILL)

    def leaves(self) -> None:
        """With a status of success."""
        raise SystemExit(0)

    def sleeps(self) -> None:
        """For longer than any test."""
        time.sleep(10_000)

    def holds_the_interpreter(self) -> None:
        """The same in code that never lets another thread have a turn."""
        ctypes.PyDLL(None).sleep(10_000)

    def dawdles(self) -> None:
        """Takes a while."""
        time.sleep(DAWDLES_S)

    def fills_its_memory(self) -> None:
        """Asks for more than there is for the process, once."""
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + 2**27
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
        try:
            bytearray(2**30)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
