# SPDX-License-Identifier: Apache-2.0
"""The machine and the versions a table was made with, and what is not installed."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

OPTIONAL = ("pytest", "beartype", "hypothesis", "triton", "wandb", "plotly", "ruptures", "hmmlearn", "tensorboard", "rich")
"""Packages without which something is left out here or there."""


def machine_line(device: str) -> str:
    """GPU, processor and versions, in one line."""
    import torch

    parts = [f"{platform.machine()}, {os.cpu_count()} cores", f"Python {platform.python_version()}"]
    if device != "cpu":
        memory = torch.cuda.mem_get_info(device)[1] / 2**30
        cuda = f"CUDA {torch.version.cuda}, driver {_driver()}"
        parts = [f"{torch.cuda.get_device_name(device)} ({memory:.0f} GiB, {cuda})", *parts]
    return ", ".join([*parts, *(f"{name} {_version(name)}" for name in ("torch", "lightning", "tensorly", "numpy"))])


def missing() -> list[str]:
    """Optional packages that are not installed."""
    return [name for name in OPTIONAL if find_spec(name) is None]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _driver() -> str:
    """The driver's version, which torch does not tell."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "unknown"
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.split("\n")[0].strip() or "unknown"
