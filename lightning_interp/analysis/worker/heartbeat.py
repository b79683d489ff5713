# SPDX-License-Identifier: Apache-2.0
"""The analyzer's pulse: a thread of its own that says that the process lives, whatever else it is at."""

import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

from lightning_interp.store.heartbeat import Heartbeat, write_heartbeat

HEARTBEAT_S = 5.0
"""Longest time between two signs of life; code that never lets the interpreter go holds them up."""


class Pulse:
    """Writes a sign of life now and every few seconds until this process ends."""

    def __init__(self, run_dir: Path, start_id: str, *, every_s: float = HEARTBEAT_S) -> None:
        self._run_dir, self._start_id, self._every_s = run_dir, start_id, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="interp-heartbeat", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        while True:
            beat = Heartbeat(os.getpid(), socket.gethostname(), self._start_id, time.time())
            with suppress(OSError):  # a full disk costs a sign of life, not the analysis
                write_heartbeat(self._run_dir, beat)
            if self._stop.wait(self._every_s):
                return
