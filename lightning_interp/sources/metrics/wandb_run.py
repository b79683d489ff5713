# SPDX-License-Identifier: Apache-2.0
"""History rows of a W&B run that lies on disk (``offline-run-…/run-….wandb``), by W&B's own reader."""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning_interp.core.child_python import child_environment, module_command
from lightning_interp.core.errors import MetricsError
from lightning_interp.sources.metrics.cells import filled_cells, whole_step
from lightning_interp.sources.metrics.columns import OWN_STEP, STEP_NAMES
from lightning_interp.sources.metrics.format import Row

SUFFIX = ".wandb"
WAIT_S = 600
READER_SINCE = (0, 31)
"""The first version of wandb that prints a run's records. What a training logs goes to older ones, too."""
_OTHER_WAY = "Or export the run's history as CSV and give that."


def matches(path: Path) -> Path | None:
    """The W&B file a path stands for: itself, or the only one in a W&B run's folder; None if there is none.

    Raises:
        MetricsError: A folder with several of them.
    """
    if path.suffix == SUFFIX and path.is_file():
        return path
    inside = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else []
    if len(inside) > 1:
        raise MetricsError(f"{path}: holds {len(inside)} W&B runs ({inside[0].name}, …). Name one of them.")
    return inside[0] if inside else None


def rows(path: Path, _resumed: Mapping[int, int]) -> Iterator[Row]:
    """Rows of a W&B run; the line is the number of the record in its file.

    The monitor's own rows have their step with them. Those of others are read by the name of an optimizer step
    (`trainer/global_step`, ...) that most of them have, the surest of them where several do, and rows without it are left
    out. Where no name is in half of them W&B's own `_step` counts, or, beside rows of the monitor, none of them does.

    Raises:
        MetricsError: W&B cannot read the file, is too old to, or finds no history in it; a step is no whole number.
    """
    if not can_read():
        needed = ".".join(map(str, READER_SINCE))
        raise MetricsError(
            f"{path}: reading W&B runs needs wandb {needed} or newer, this is {version('wandb')}. {_OTHER_WAY}"
        )
    items = [(record["num"], record["history"]["item"]) for record in _records(path) if record.get("type") == "history"]
    if not items:
        raise MetricsError(f"{path}: W&B finds no history in it: nothing was logged, or it is no W&B run. {_OTHER_WAY}")
    others = [values for _, values in items if OWN_STEP not in values]
    named = _step_name(others, beside_own=len(others) < len(items))
    for number, values in items:
        name = OWN_STEP if OWN_STEP in values else named
        if name in values:
            yield number, whole_step(values[name], f"{path}, record {number}"), filled_cells(values)


def _step_name(rows: Sequence[Mapping[str, Any]], *, beside_own: bool) -> str:
    """Name of the step of rows that are not the monitor's; beside those, one that no row has in place of W&B's count."""
    *optimizer, counted = STEP_NAMES
    most = (name for name in optimizer if 2 * sum(name in values for values in rows) >= len(rows))
    return next(most, OWN_STEP if beside_own else counted)


def can_read() -> bool:
    """Whether the wandb that is installed has a reader of runs on disk."""
    return tuple(int(part) for part in version("wandb").split(".")[:2]) >= READER_SINCE


def _records(path: Path) -> Iterator[Mapping[str, Any]]:
    command = module_command("wandb", "leet", "inspect", "--json", str(path))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False, env=child_environment())
    except (OSError, subprocess.TimeoutExpired) as err:
        raise MetricsError(f"{path}: W&B cannot be asked to read it ({err}). {_OTHER_WAY}") from err
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise MetricsError(f"{path}: W&B cannot read it ({said[0]}). {_OTHER_WAY}")
    return (json.loads(line) for line in done.stdout.splitlines() if line.strip())
