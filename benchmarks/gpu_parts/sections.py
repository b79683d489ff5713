# SPDX-License-Identifier: Apache-2.0
"""The sections, each in a process of its own: one that fails, hangs or breaks the device costs the others nothing."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gpu_parts.rows import Row, broken
from gpu_parts.setting import Budget, Part, Setting

WEIGHTS = {"scaler": 25, "capture": 175, "neutrality": 120, "tca": 110, "replica": 80, "tests": 45}
"""Sections in their order, and the share of the time that each may take."""
MODULES = {"tests": "marked_tests"}
ENDING_S = 5.0
"""Seconds before its limit at which a section is to have ended by itself."""
UNATTENDED = {"LIGHTNING_INTERP_REPORT": "0", "LIGHTNING_INTERP_ANALYZERS": "1000"}
"""Environment of every section: no reports, and no analyzer waits for others of this machine."""
ON_THE_CPU = {"OMP_NUM_THREADS": "1"}
"""The same of a rehearsal: tiny operations on several threads wait for one another. Read when torch is imported."""
_HERE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Order:
    """What one section is told, as it travels to its process.

    Attributes:
        section: Its name.
        device: ``cuda:0`` or ``cpu``.
        quick: Tiny sizes.
        seconds: Its limit.
        scratch: Folder for what is not kept.
        keep: Folder and stem of files beside the table.
    """

    section: str
    device: str
    quick: bool
    seconds: float
    scratch: str
    keep: str

    @property
    def setting(self) -> Setting:
        """The same with a clock that runs from now on."""
        budget = Budget(max(1.0, self.seconds - ENDING_S))
        return Setting(self.device, self.quick, Path(self.scratch) / self.section, Path(self.keep), budget)


def shares(sections: Sequence[str], seconds: float, *, done: int) -> float:
    """Limit of the next section: its share of the time that is left."""
    left = [WEIGHTS[name] for name in sections[done:]]
    return seconds * left[0] / sum(left)


def rows_of(order: Order) -> Iterator[Row]:
    """Rows of one section in this process; a part that fails is a row, and the next part is run."""
    setting = order.setting
    setting.scratch.mkdir(parents=True, exist_ok=True)
    try:
        parts: dict[str, Part] = importlib.import_module(f"gpu_parts.{MODULES.get(order.section, order.section)}").PARTS
    except Exception as err:  # a package that is not here
        yield broken(order.section, err)
        return
    for name, part in parts.items():
        try:
            yield from part(setting)
        except Exception as err:  # whatever breaks, the table says so
            traceback.print_exc()
            yield broken(name, err)


def in_own_process(order: Order) -> list[Row]:
    """Rows of one section from a process that is ended at its limit; what it had by then counts."""
    scratch = Path(order.scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    out, log = scratch / f"{order.section}.jsonl", scratch / f"{order.section}.log"
    path = [str(_HERE), str(_HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path)}
    command = [sys.executable, "-m", "gpu_parts.sections", json.dumps(asdict(order)), str(out)]
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment, process_group=0
        )
        try:
            ended = _ended(process, order.seconds)
        finally:
            _end(process)
    rows = [Row(**json.loads(line)) for line in out.read_text(encoding="utf-8").splitlines()] if out.exists() else []
    if not ended:
        rows.append(Row(order.section, verdict="failed", note=f"stopped at its limit of {order.seconds:.0f} s"))
    elif process.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        rows.append(
            Row(order.section, verdict="failed", note=f"its process ended with {process.returncode}: {' '.join(last)}")
        )
    return rows


def _ended(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.poll() is not None


def _end(process: "subprocess.Popen[bytes]") -> None:
    """What it started is in its group; an analyzer, which is not, ends with the pipe from its training."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run_sections(orders: Sequence[Order], seconds: float, *, together: bool = False) -> Iterator[tuple[str, Row]]:
    """Rows as they come, section after section, all within a time.

    Args:
        orders: The sections; their limits are set here.
        seconds: Time for all of them.
        together: In this process, without a limit.
    """
    end = time.monotonic() + seconds
    names = [order.section for order in orders]
    for done, order in enumerate(orders):
        limited = replace(order, seconds=max(1.0, shares(names, end - time.monotonic(), done=done)))
        for row in rows_of(limited) if together else in_own_process(limited):
            yield order.section, row


def main(arguments: Sequence[str]) -> None:
    """One section: ``python -m gpu_parts.sections ORDER FILE``; each row is a line of the file as soon as it is there."""
    order = Order(**json.loads(arguments[0]))
    with Path(arguments[1]).open("w", encoding="utf-8") as file:
        for row in rows_of(order):
            file.write(json.dumps(asdict(row)) + "\n")
            file.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
    # At once: what a monitor or a profiler left behind does not hold up the next section.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
