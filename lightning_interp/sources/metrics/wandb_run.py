# SPDX-License-Identifier: Apache-2.0
"""History rows of a W&B run that lies on disk (``offline-run-…/run-….wandb``), by W&B's own reader."""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning_interp.core.child_python import child_environment, module_command
from lightning_interp.core.errors import MetricsError
from lightning_interp.sources.metrics.format import Asked, Row
from lightning_interp.sources.metrics.json_values import flat_cells
from lightning_interp.sources.metrics.text_file import check_file

SUFFIX = ".wandb"
WAIT_S = 600
READER_SINCE = (0, 31)
"""The first version of wandb that prints a run's records. What a training logs goes to older ones, too."""
_SHOWN = 10
_OTHER_WAY = "Or export the run's history as CSV and give that."


def matches(path: Path) -> Path | None:
    """The W&B file a path stands for: itself, or the only one in a W&B run's folder; None if there is none.

    A folder of several starts of one run is itself what it stands for.

    Raises:
        MetricsError: A folder with several runs.
    """
    if path.suffix == SUFFIX and path.is_file():
        return path
    if not path.is_dir():
        return None
    inside = sorted(path.glob(f"*{SUFFIX}"))
    if len(inside) > 1:
        raise MetricsError(f"{path}: holds {len(inside)} W&B runs ({inside[0].name}, …). Name one of them.")
    return inside[0] if inside else _only_run_below(path)


def _only_run_below(path: Path) -> Path | None:
    folders = sorted(_run_folders(path))
    if not folders:
        return None
    runs = sorted({run_id(next(each.glob(f"*{SUFFIX}"))) for each in folders})
    if len(runs) > 1:
        names = ", ".join([each.name for each in folders[:_SHOWN]] + ["…"] * (len(folders) > _SHOWN))
        raise MetricsError(f"{path}: holds {len(runs)} W&B runs. Name one of them: {names}.")
    return path


def _run_folders(path: Path) -> Iterator[Path]:
    for parent in (path, path / "wandb"):
        yield from (each for each in parent.glob("*run-*-*") if not each.is_symlink() and any(each.glob(f"*{SUFFIX}")))


def run_id(file: Path) -> str:
    """Id of the run a ``.wandb`` file belongs to, as its name says it."""
    return file.stem.removeprefix("run-")


def rows(path: Path, asked: Asked) -> Iterator[Row]:
    """Rows of a W&B run, of all its starts that were asked for; the line is the number of the record in its file.

    Raises:
        MetricsError: W&B cannot read the file, is too old to, or finds no history in it.
    """
    asked.row = "record"
    if path.is_dir():
        files = [next(each.glob(f"*{SUFFIX}")) for each in sorted(_run_folders(path))]
    else:
        files = [path]
        _tell_of_others(path, asked)
    for file in files:
        asked.where = file
        asked.take_run(run_id(file), file)
        yield from _file_rows(file)


def _tell_of_others(file: Path, asked: Asked) -> None:
    """A run that was resumed has a folder for each start."""
    beside = [each for each in file.parent.parent.glob("*run-*-*") if each != file.parent and (each / file.name).is_file()]
    others = sorted(each.name for each in beside if not {each, each / file.name} & set(asked.given))
    if others and "run-" in file.parent.name:
        asked.note(
            f"{file.parent.name} is one start of a run that has others: {', '.join(others)}. Give all of them "
            "for its whole course."
        )


def _file_rows(path: Path) -> Iterator[Row]:
    if not can_read():
        needed = ".".join(map(str, READER_SINCE))
        raise MetricsError(
            f"{path}: reading W&B runs needs wandb {needed} or newer, this is {version('wandb')}. {_OTHER_WAY}"
        )
    found = False
    for record in _records(path):
        item = record.get("history", {}).get("item") if record.get("type") == "history" else None
        if isinstance(item, Mapping):
            found = True
            yield record["num"], None, flat_cells(item)
    if not found:
        raise MetricsError(f"{path}: W&B finds no history in it: nothing was logged, or it is no W&B run. {_OTHER_WAY}")


def can_read() -> bool:
    """Whether the wandb that is installed has a reader of runs on disk."""
    return tuple(int(part) for part in version("wandb").split(".")[:2]) >= READER_SINCE


def _records(path: Path) -> Iterator[Mapping[str, Any]]:
    check_file(path)
    command = module_command("wandb", "leet", "inspect", "--json", str(path))
    with tempfile.TemporaryFile() as printed:  # a run may hold more than fits into memory
        try:
            done = subprocess.run(
                command, stdout=printed, stderr=subprocess.PIPE, timeout=WAIT_S, check=False, env=child_environment()
            )
        except (OSError, subprocess.TimeoutExpired) as err:
            raise MetricsError(f"{path}: W&B cannot be asked to read it ({err}). {_OTHER_WAY}") from err
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
            raise MetricsError(f"{path}: W&B cannot read it ({said[0]}). {_OTHER_WAY}")
        printed.seek(0)
        yield from (json.loads(line) for line in printed if line.strip())
