# SPDX-License-Identifier: Apache-2.0
"""A training that breaks off at a step, with monitors whose analysis is far behind, and the user's own checkpoint of it.

``python broken_off.py FOLDER error|ctrl-c|sigterm MONITORS`` prints ``raised TIME`` when the exception is on its way,
``exits TIME`` when the process begins to end, and ``ended TIME`` when nothing of ours is waited for any more.
"""

import atexit
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any


def tell(what: str) -> None:
    print(f"{what} {time.time()}", flush=True)


if __name__ == "__main__":
    atexit.register(tell, "ended")  # before anything else registers, so that it is called last

import lightning as L  # noqa: E402
from half_second_measure import Slow  # noqa: E402
from lightning.pytorch.callbacks import OnExceptionCheckpoint  # noqa: E402
from small_training import Classifier, data  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from lightning_interp import InterpMonitor  # noqa: E402

STEP = 40

SIGNALS = {"ctrl-c": signal.SIGINT, "sigterm": signal.SIGTERM}


class BreaksOff(Classifier):
    """Ends in the asked way at one step."""

    kind = "error"

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.global_step == STEP:
            atexit.register(tell, "exits")  # the latest to register is the first to be called
            tell("raised")
            if self.kind == "error":
                raise RuntimeError("the user's own error")
            os.kill(os.getpid(), SIGNALS[self.kind])
            time.sleep(0.05)
        return super().training_step(batch, batch_idx)


def main(folder: Path, kind: str, monitors: int, measures: Any) -> None:
    module = BreaksOff()
    module.kind = kind
    watching: list[L.Callback] = [
        InterpMonitor(folder / f"run_{number}", every_n_steps=1, measures=measures, max_overhead=10.0)
        for number in range(monitors)
    ]
    trainer = L.Trainer(
        default_root_dir=folder,
        max_steps=200,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=True,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*watching, OnExceptionCheckpoint(folder, "mine")],
    )
    trainer.fit(module, DataLoader(data(), batch_size=8), DataLoader(data(), batch_size=32))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), [Slow(), "losses"])
