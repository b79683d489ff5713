# SPDX-License-Identifier: Apache-2.0
"""What a user does on a system that lacks what Windows lacks, in two processes; `lesser_system` hides it before they start.

``python lesser_session.py train FOLDER`` trains with the monitor; ``python lesser_session.py use FOLDER`` then imports every
module, reads what was recorded and gives commands, and writes what became of it to FOLDER/used.json.
"""

import contextlib
import importlib
import io
import json
import pkgutil
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from patient_monitor import PATIENT
from small_training import Classifier, data
from torch import nn
from torch.utils.data import DataLoader

import lightning_interp
from lightning_interp import InterpMonitor, open_run
from lightning_interp.cli.main import main
from lightning_interp.store import analyzer_lock
from lightning_interp.store.layout import RECORDS

STEPS, EVERY = 40, 5
RUN, CUT, CHECKPOINTS, WEIGHTS, USED = "run", "cut", "checkpoints", "weights.pt", "used.json"
LEFT = 4
"""Records of the run whose analysis was cut short."""


class Save(Callback):
    """A checkpoint every few steps."""

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:
        if trainer.global_step % EVERY == 0:
            trainer.save_checkpoint(trainer.default_root_dir + f"/{CHECKPOINTS}/step={trainer.global_step}.ckpt")


def build() -> nn.Module:
    return Classifier()


def train(folder: Path, *callbacks: Callback) -> dict[str, torch.Tensor]:
    """Weights after a training of a second."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    module = Classifier()
    trainer = L.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_steps=STEPS,
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(data(), batch_size=32), DataLoader(data(40), batch_size=20))
    return dict(module.state_dict())


def commands(folder: Path) -> dict[str, list[str]]:
    """Arguments of each command, by a name for it."""
    run, cut, build_it = str(folder / RUN), str(folder / CUT), ["--module", "lesser_session:build", "--device", "cpu"]
    checkpoints = ["analyze", str(folder / CHECKPOINTS), *build_it, "--engine", "local"]
    return {
        "phases of a run": ["phases", run],
        "phases of a csv": ["phases", str(folder / "metrics.csv")],
        "analyze a run": ["analyze", cut, *build_it],
        "analyze checkpoints": [*checkpoints, "--workers", "1", "--out", str(folder / "by-1")],
        "analyze checkpoints with two workers": [*checkpoints, "--workers", "2", "--out", str(folder / "by-2")],
        "report": ["report", run, "-o", str(folder / "page.html")],
        "status": ["status", run],
        "compare": ["compare", run, cut],
        "export": ["export", run, "--to", "csv", "-o", str(folder / "tables")],
        "check-neutral": ["check-neutral", "lesser_session:build"],
    }


def give(arguments: list[str]) -> dict[str, Any]:
    """Exit code and words of a command whose output is a pipe as it is on Windows: of an encoding without arrows."""
    out, err, began = io.TextIOWrapper(io.BytesIO(), encoding="cp1252"), io.StringIO(), time.monotonic()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code: Any = main(arguments)
        except Exception as fault:
            code = f"{type(fault).__name__}: {fault}"
    out.flush()
    words = out.buffer.getvalue().decode("cp1252")  # type: ignore[attr-defined]
    return {"code": code, "out": words, "err": err.getvalue(), "seconds": time.monotonic() - began}


def read(path: Path) -> dict[str, Any]:
    """What every reader of a run directory gives."""
    run = open_run(path)
    layer = run.manifest.activation_layers[0]
    return {
        "snapshots": run.steps,
        "records": [record.step for record in run.all_records],
        "losses": run.records("train_loss")[1].tolist(),
        "weights": sorted(run.snapshot(0).weights),
        "probe": run.probe is not None,
        "activations": list(run.activations(layer).shape),
        "phases": run.timeline is not None,
        "notices": run.analysis["notices"],
        "health": [row["text"] for row in run.health if row["event"] == "analyzer"],
    }


def use(folder: Path) -> dict[str, Any]:
    """Everything that is to work, and what became of it."""
    modules = [found.name for found in pkgutil.walk_packages(lightning_interp.__path__, "lightning_interp.")]
    for name in modules:
        importlib.import_module(name)
    shutil.copytree(folder / RUN, folder / CUT)
    (folder / CUT / RECORDS).write_text("\n".join((folder / RUN / RECORDS).read_text().splitlines()[:LEFT]) + "\n")
    (folder / "metrics.csv").write_text("step,train_loss,val_loss\n0,1.1,1.1\n20,0.5,0.6\n40,0.2,0.5\n")
    with analyzer_lock(folder / CUT):
        held = give(commands(folder)["analyze a run"])
    told = {name: give(arguments) for name, arguments in commands(folder).items()}
    names = [*lightning_interp.__all__]
    public = [name for name in names if not hasattr(lightning_interp, name)]
    return {"modules": modules, "not there": public, "held": held, "commands": told, "read": read(folder / RUN)}


if __name__ == "__main__":
    root = Path(sys.argv[2])
    if sys.argv[1] == "train":
        torch.save(train(root, InterpMonitor(root / RUN, every_n_steps=EVERY, **PATIENT), Save()), root / WEIGHTS)
    else:
        (root / USED).write_text(json.dumps(use(root)))
