# SPDX-License-Identifier: Apache-2.0
"""The analyzer process: ``python -m lightning_interp.analysis.worker RUN_DIR``, started and fed by the training process.

It ends when told to finish and nothing is left, or after the current snapshot when the training process is gone or the
training was started again.
"""

import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import BinaryIO

NICENESS = 19
POLL_S = 0.2
LOCK_WAIT_S = 60.0
"""A resumed training may start its analyzer while the one before finishes its snapshot."""


def main(run_dir: Path, stream: BinaryIO) -> int:
    """Analyze a run directory on orders from a stream; returns the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the training, which then tells us to finish
    _yield_to_training()
    # torch is imported only now, when its threads are limited and this process is nice.
    import torch

    torch.set_num_threads(1)
    from lightning_interp.analysis.messages import decode, read_frame
    from lightning_interp.analysis.orders import analyzer_for
    from lightning_interp.store.lock import analyzer_lock

    first = read_frame(stream)
    if first is None:
        return 0  # the training ended before it had anything to say
    sys.path[:] = first[0]["sys_path"]
    start = read_frame(stream)
    if start is None:
        return 0
    orders: SimpleQueue[tuple[str, bytes]] = SimpleQueue()
    threading.Thread(target=_listen, args=(stream, orders), daemon=True).start()
    with analyzer_lock(run_dir, wait_s=LOCK_WAIT_S):
        analyzer = analyzer_for(run_dir, decode(start[1]))
        try:
            analyzer.limit_memory()
            analyzer.finish("finished" if _work(analyzer, orders) else "stopped")
        except BaseException as err:
            analyzer.state.notice(f"the analysis ended with {type(err).__name__}: {err}")
            analyzer.finish("failed")
            raise
    return 0


def _work(analyzer: "Analyzer", orders: "SimpleQueue[tuple[str, bytes]]") -> bool:  # noqa: F821 - imported lazily
    """Observe snapshots as they come; True when told to finish and done, False when the training is another or gone."""
    from lightning_interp.analysis.messages import decode

    finishing = gone = False

    def hear() -> bool:
        nonlocal finishing, gone
        while True:
            try:
                kind, body = orders.get_nowait()
            except Empty:
                return gone
            finishing |= kind == "finish"
            gone |= kind == "gone" and not finishing
            if kind == "probe":
                analyzer.give_probe(decode(body))

    while not hear() and not analyzer.superseded:
        observed = analyzer.run_pending(stop=hear)
        if finishing and not observed and not analyzer.pending():
            return True
        if not observed:
            time.sleep(POLL_S)
    return False


def _listen(stream: BinaryIO, orders: "SimpleQueue[tuple[str, bytes]]") -> None:
    from lightning_interp.analysis.messages import read_frame

    while (frame := read_frame(stream)) is not None:
        orders.put((frame[0]["kind"], frame[1]))
    orders.put(("gone", b""))


def _yield_to_training() -> None:
    """Lowest priority, one thread for every library that counts cores when it is loaded."""
    os.nice(NICENESS)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"


if __name__ == "__main__":
    try:
        status = main(Path(sys.argv[1]), sys.stdin.buffer)
    except Exception:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # The listener may still block in a read of standard input, which would hold up an ordinary exit.
    os._exit(status)
