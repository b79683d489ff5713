# SPDX-License-Identifier: Apache-2.0
"""The analyzer process: ``python -m lightning_interp.analysis.worker RUN_DIR [LIFE]``, started and fed by the training.

It ends when told to finish and nothing is left, or after the current snapshot when the training process is gone or the
training was started again. What hangs is ended, whatever it does: `ProcessWatch` and `DeathWatch` need no line of python.
"""

import os
import sys
import threading
import traceback
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, BinaryIO

from lightning_interp.analysis.worker.parent_death import DeathWatch, plain_signals
from lightning_interp.core.child_python import take_over
from lightning_interp.core.imports import folders_needed, need, searched_last
from lightning_interp.core.inert_output import make_output_inert
from lightning_interp.core.system_features import PRIORITIES

if TYPE_CHECKING:
    from lightning_interp.analysis.watchdog import ProcessWatch
    from lightning_interp.analysis.worker.pipe import StartOrder

NICENESS = 19
LOCK_WAIT_S = 60.0
"""A resumed training may start its analyzer while the one before finishes its snapshot."""
START_LIMIT_S = 600.0
"""Longest a start may take: imports, the lock, and unpickling the user's objects."""


def main(run_dir: Path, stream: BinaryIO, life: int | None = None) -> int:
    """Analyze a run directory on orders from a stream; returns the exit status."""
    plain_signals()
    death = DeathWatch(life)
    _yield_to_training()
    # torch is imported only now, when its threads are limited and this process is nice.
    import torch

    torch.set_num_threads(1)
    from lightning_interp.analysis.preload import import_all
    from lightning_interp.analysis.watchdog import ProcessWatch
    from lightning_interp.analysis.worker.heartbeat import Pulse
    from lightning_interp.analysis.worker.pipe import Quarantine, StartOrder, decode, read_frame
    from lightning_interp.store.lock import analyzer_lock

    watch = ProcessWatch(sys.stderr)
    watch.limit(START_LIMIT_S)
    first = read_frame(stream)
    quarantine = Quarantine()
    if first is not None and first[0]["kind"] == "quarantine":
        quarantine, first = decode(first[1]), read_frame(stream)
    start = read_frame(stream)
    if first is None or start is None:
        return 0  # the training ended before it had anything to say
    import_all()
    take_over(first[0]["sys_path"])
    need(first[0]["folders"])
    orders: SimpleQueue[tuple[str, bytes]] = SimpleQueue()
    listener = threading.Thread(target=_listen, args=(stream, orders, death), daemon=True)
    listener.start()
    with analyzer_lock(run_dir, wait_s=LOCK_WAIT_S):
        with searched_last(folders_needed()):
            order: StartOrder = decode(start[1])
        death.grace_s = order.orphan_grace_s
        with closing(Pulse(run_dir, order.start_id)):
            _analyze(run_dir, replace(order, quarantine=quarantine), orders, watch, death)
    return 0


def _analyze(
    run_dir: Path,
    order: "StartOrder",
    orders: "SimpleQueue[tuple[str, bytes]]",
    watch: "ProcessWatch",
    death: DeathWatch,
) -> None:
    """Work until told to finish or left alone, and say on disk how it ended."""
    from lightning_interp.analysis.apart import work_apart
    from lightning_interp.analysis.orders import analyzer_for
    from lightning_interp.analysis.worker.slots import machine_slots
    from lightning_interp.analysis.worker.work_loop import WorkLoop

    work_apart()
    analyzer = analyzer_for(run_dir, order, watch=watch)
    watch.cancel()  # of the start
    slots, unlimited = machine_slots()
    if unlimited:
        analyzer.state.notice(unlimited)
    try:
        analyzer.limit_memory()
        done = WorkLoop(analyzer, orders, slots, orphaned=lambda: death.orphaned).work()
        analyzer.finish("finished" if done else "stopped")
    except BaseException as err:
        analyzer.state.notice(f"the analysis ended with {type(err).__name__}: {err}")
        analyzer.finish("failed")
        raise


def _listen(stream: BinaryIO, orders: "SimpleQueue[tuple[str, bytes]]", death: DeathWatch) -> None:
    from lightning_interp.analysis.worker.pipe import read_frame

    death.listen()
    while (frame := read_frame(stream)) is not None:
        kind = frame[0]["kind"]
        if kind == "finish":
            death.forget()
        orders.put((kind, frame[1]))
    orders.put(("gone", b""))
    death.training_gone()


def _yield_to_training() -> None:
    """Lowest priority, one thread for every library that counts cores when it is loaded."""
    if PRIORITIES:
        os.nice(NICENESS)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"


if __name__ == "__main__":
    make_output_inert()  # its log is read in a terminal
    try:
        status = main(Path(sys.argv[1]).absolute(), sys.stdin.buffer, int(sys.argv[2]) if len(sys.argv) > 2 else None)
    except BaseException:  # also a measure that calls sys.exit: only work that was done ends with status 0
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # The listener may still block in a read of standard input, which would hold up an ordinary exit.
    os._exit(status)
