# SPDX-License-Identifier: Apache-2.0
"""History rows of a W&B run that lies on disk (``offline-run-…/run-….wandb``), by W&B's own reader."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning_interp.errors import MetricsError
from lightning_interp.store.metric_names import STEP_NAMES

SUFFIX = ".wandb"
WAIT_S = 600
READER_SINCE = (0, 31)
"""The first version of wandb that prints a run's records. What a training logs goes to older ones, too."""
_OTHER_WAY = "Or export the run's history as CSV and give that."


def wandb_file(path: Path) -> Path | None:
    """The W&B file a path stands for: itself, or the only one in a W&B run's folder; None where there is none.

    Raises:
        MetricsError: A folder with several of them.
    """
    if path.suffix == SUFFIX and path.is_file():
        return path
    inside = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else []
    if len(inside) > 1:
        raise MetricsError(f"{path}: holds {len(inside)} W&B runs ({inside[0].name}, …). Name one of them.")
    return inside[0] if inside else None


def wandb_history(path: Path) -> Iterator[tuple[int, Any, Mapping[str, Any]]]:
    """Number of each history record, its step as written, and its values by key.

    The step is read from the name of an optimizer step (`trainer/global_step`, ...) that most rows have, the surest of them
    where several do, and rows without it are left out; where no name is in half of the rows W&B's own `_step` counts.

    Raises:
        MetricsError: W&B cannot read the file, is too old to, or finds no history in it.
    """
    if not can_read():
        needed = ".".join(map(str, READER_SINCE))
        raise MetricsError(
            f"{path}: reading W&B runs needs wandb {needed} or newer, this is {version('wandb')}. {_OTHER_WAY}"
        )
    rows = [(record["num"], record["history"]["item"]) for record in _records(path) if record.get("type") == "history"]
    if not rows:
        raise MetricsError(f"{path}: W&B finds no history in it: nothing was logged, or it is no W&B run. {_OTHER_WAY}")
    counts = {name: sum(name in values for _, values in rows) for name in STEP_NAMES}
    named = next((name for name, count in counts.items() if 2 * count >= len(rows)), STEP_NAMES[-1])
    return ((number, values[named], values) for number, values in rows if named in values)


def can_read() -> bool:
    """Whether the wandb that is installed has a reader of runs on disk."""
    return tuple(int(part) for part in version("wandb").split(".")[:2]) >= READER_SINCE


def _records(path: Path) -> Iterator[Mapping[str, Any]]:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as err:
        raise MetricsError(f"{path}: W&B cannot be asked to read it ({err}). {_OTHER_WAY}") from err
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise MetricsError(f"{path}: W&B cannot read it ({said[0]}). {_OTHER_WAY}")
    return (json.loads(line) for line in done.stdout.splitlines() if line.strip())
