# SPDX-License-Identifier: Apache-2.0
"""A folder as a stranger may have filled it: data to look at, and beside it files with the names of modules."""

import os
from pathlib import Path

import lightning as L
import torch
from reference_run import make_reference_run
from torch import nn

MODULES = (
    *("random", "queue", "types", "copyreg", "pickle", "signal", "socket", "tempfile", "multiprocessing", "subprocess"),
    *("json", "threading", "sitecustomize", "usercustomize", "importlib", "zoneinfo", "resource", "secrets"),
    *("rich", "wandb", "torch", "numpy", "cloudpickle", "lightning", "tensorly", "ruptures", "plotly", "dash", "ray"),
    *("lightning_interp", "jinja2", "xarray", "tensorboard", "kaleido", "safetensors", "fsspec", "isal", "waitress"),
)
"""Names that something we start imports sooner or later."""

HISTORY = "step,train_loss,heldout_loss\n" + "".join(f"{step},{2 / step},{2.5 / step}\n" for step in range(1, 60))
NET = "from torch import nn\n\n\ndef build():\n    return nn.Linear(3, 2)\n"


def noting(name: str, marker: Path) -> str:
    """Source of a module that notes that it is run, and then breaks what imported it."""
    return f"with open({os.fspath(marker)!r}, 'a') as file:\n    file.write('{name} ')\nraise RuntimeError({name!r})\n"


def fill(folder: Path, marker: Path) -> None:
    """Checkpoints, a metrics file, a W&B file, a run directory, and modules that note in `marker` when they are run.

    Args:
        folder: Folder to make.
        marker: File that each module appends its name to.
    """
    folder.mkdir()
    for number, name in enumerate(MODULES):
        path = folder / name / "__init__.py" if number % 4 == 3 else folder / f"{name}.py"  # some as packages
        path.parent.mkdir(exist_ok=True)
        path.write_text(noting(name, marker))
    (folder / "net.py").write_text(NET)
    (folder / "metrics.csv").write_text(HISTORY)
    (folder / "run-20260101_000000-abcdefgh.wandb").write_bytes(b"no history")
    make_reference_run(folder / "run")
    for step in (1, 2, 3, 4):
        torch.manual_seed(step)
        content = {
            "state_dict": nn.Linear(3, 2).state_dict(),
            "global_step": step,
            "pytorch-lightning_version": L.__version__,
        }
        torch.save(content, folder / f"step={step}.ckpt")
