# SPDX-License-Identifier: Apache-2.0
"""heartbeat.json: that the analyzer process lives, also while it is idle or inside a long observation.

A file of its own, so that this thread and the one that observes never write the same file.
"""

import json
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from lightning_interp.store.layout import HEARTBEAT, replace_text

HEARTBEAT_S = 5.0
"""Longest time between two signs of life; code that never lets the interpreter go holds them up."""


@dataclass(frozen=True)
class Heartbeat:
    """A sign of life of an analyzer process.

    Attributes:
        pid: Its process id on its host.
        host: Name of the machine it runs on.
        start_id: Which start of an analyzer it is, as in analysis.json.
        at: When it was alive, in seconds since 1970.
    """

    pid: int
    host: str
    start_id: str
    at: float


def read_heartbeat(run_dir: Path) -> Heartbeat | None:
    """Latest sign of life, None where no analyzer process ever gave one."""
    try:
        content = json.loads((run_dir / HEARTBEAT).read_text(encoding="utf-8"))
        return Heartbeat(**{name: content[name] for name in Heartbeat.__dataclass_fields__})
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


class Pulse:
    """Writes a sign of life now and every few seconds until this process ends.

    Args:
        run_dir: Run directory; the caller holds its analyzer lock.
        start_id: Which start of an analyzer this is.
        every_s: Seconds between two signs of life.
    """

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
                replace_text(self._run_dir / HEARTBEAT, json.dumps(asdict(beat)))
            if self._stop.wait(self._every_s):
                return
