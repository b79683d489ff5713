# SPDX-License-Identifier: Apache-2.0
"""Where everything lies in a run directory. The only place that knows file names."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCHEMA = 1
"""Version of the run directory's format, kept in run.json."""

MANIFEST = "run.json"
PROBE = "probe.safetensors"
SNAPSHOTS = "snapshots"
OBSERVATIONS = "observations"
COMPONENTS = "components"
ABANDONED = "abandoned"
RECORDS = "records.jsonl"
HEALTH = "health.jsonl"
PHASES = "phases.json"
ANALYSIS = "analysis.json"
HEARTBEAT = "heartbeat.json"
LOCK = "analyzer.lock"
ANALYZER_LOG = "analyzer.log"
CHECKPOINTS = "checkpoints.jsonl"
DELIVERED = "delivered.json"

LIMIT = 2**63
"""Steps are whole numbers of 64 bits; a name with a larger one is no file of ours."""
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.#-]{0,99}")
_STEP_FILE = re.compile(r"^step_(\d{9,})\.safetensors$")


def step_file(directory: Path, step: int) -> Path:
    """File of one step inside `snapshots/` or `observations/`."""
    return directory / f"step_{step:09d}.safetensors"


def committed_steps(directory: Path) -> list[int]:
    """Steps with a committed file in a folder, ascending. The file name is the commit: no other index exists."""
    if not directory.is_dir():
        return []
    found = (_STEP_FILE.match(entry.name) for entry in os.scandir(directory))
    return sorted(step for match in found if match and (step := int(match.group(1))) < LIMIT)


def components_file(run_dir: Path, layer: str) -> Path:
    """File of one layer inside `components/`; the file's metadata has the layer's true name.

    A name that is no plain file name keeps what can be kept of it, and a hash tells it from others like it.
    """
    name = layer
    if not _SAFE_NAME.fullmatch(layer):
        kept = re.sub(r"[^A-Za-z0-9_.#-]", "_", layer).lstrip(".")[:80]
        name = f"{kept}-{hashlib.sha256(layer.encode()).hexdigest()[:12]}"
    return run_dir / COMPONENTS / f"{name}.safetensors"


def sweep_temporary(directory: Path) -> int:
    """Remove files a killed writer left unfinished; returns how many there were."""
    leftovers = [path for path in directory.glob("*.tmp") if path.is_file()] if directory.is_dir() else []
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Replace a file in one step by what the block writes to the path it gets: readers see old or new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:  # also Ctrl-C
        temporary.unlink(missing_ok=True)
        raise


def replace_text(path: Path, text: str) -> None:
    """Replace a small text file in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
