# SPDX-License-Identifier: Apache-2.0
"""Processes that hold slots of the machine, as analyzers do while they work."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOLD = """
import sys, time
from pathlib import Path
from lightning_interp.analysis.worker.slots import MachineSlots

assert MachineSlots(Path(sys.argv[1]), int(sys.argv[2])).take()
print(flush=True)
time.sleep(300)
"""


@contextmanager
def slot_holders(folder: Path, count: int) -> "Iterator[list[subprocess.Popen[bytes]]]":
    """So many processes that hold all of as many slots, until the block ends."""
    command = [sys.executable, "-c", HOLD, str(folder), str(count)]
    holders = []
    try:
        for _ in range(count):
            holders.append(subprocess.Popen(command, stdout=subprocess.PIPE))
            assert holders[-1].stdout.readline() == b"\n"
        yield holders
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()
            holder.stdout.close()
