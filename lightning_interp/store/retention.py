# SPDX-License-Identifier: Apache-2.0
"""Which snapshots stay on disk once they are observed; records, timelines and components stay in any case."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lightning_interp.core.errors import ConfigError
from lightning_interp.core.log_time import most_crowded
from lightning_interp.store.layout import OBSERVATIONS, SNAPSHOTS, committed_steps, step_file

_LAST = re.compile(r"last:(\d+)")
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kMGT]?)B?\s*", re.IGNORECASE)
_PREFIXES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True)
class Retention:
    """What happens to observed snapshots.

    Attributes:
        kind: ``all`` stay; of ``log`` as many stay, evenly in log(step), as the disk cap allows; the ``last`` few stay.
        count: How many stay for ``last``.
    """

    kind: Literal["all", "log", "last"]
    count: int = 0

    def gives_up(self, sizes: Mapping[int, int], observed: Sequence[int], *, excess: int) -> list[int]:
        """Steps whose files may go now, never the first or the latest of the run, never one that is not observed.

        Args:
            sizes: Bytes on disk of every step there is.
            observed: Steps whose records are committed.
            excess: Bytes by which the run is over its cap, 0 or less while it is under.
        """
        steps = sorted(sizes)
        free = [step for step in steps[1:-1] if step in set(observed)]
        if self.kind == "all":
            return []
        if self.kind == "last":
            return free[: max(0, len(free) - self.count)]
        return _thinned(steps, free, sizes, excess)


def _thinned(steps: list[int], free: list[int], sizes: Mapping[int, int], excess: int) -> list[int]:
    """One after the other the most crowded step in log time, until enough is gone."""
    kept, candidates, gone = list(steps), set(free), []
    while excess > 0 and candidates:
        step = kept.pop(most_crowded(kept, candidates))
        candidates.discard(step)
        gone.append(step)
        excess -= sizes[step]
    return sorted(gone)


def parse_retention(value: object) -> Retention:
    """`"all"`, `"log"`, or `"last:20"`.

    Raises:
        ConfigError: It is none of these.
    """
    if value == "all":
        return Retention("all")
    if value == "log":
        return Retention("log")
    match = _LAST.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match.group(1)) < 1:
        raise ConfigError(f"retention: expected 'all', 'log' or 'last:20' (any number from 1 on), got {value!r}.")
    return Retention("last", int(match.group(1)))


def parse_size(value: object, *, argument: str) -> int | None:
    """Bytes of `"5GB"`, `"300 MB"` or a whole number; None stands for no limit.

    Raises:
        ConfigError: It is none of these.
    """
    if value is None:
        return None
    match = _SIZE.fullmatch(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    size = int(float(match.group(1)) * _PREFIXES[match.group(2).upper()]) if match else 0
    if size < 1:
        raise ConfigError(f"{argument}: expected a size such as '5GB' or '300MB', or nothing for no limit, got {value!r}.")
    return size


def sizes_on_disk(run_dir: Path) -> dict[int, int]:
    """Bytes of snapshot and stored activations of every step with a committed snapshot."""
    return {step: _size(run_dir, step) for step in committed_steps(run_dir / SNAPSHOTS)}


def remove_step(run_dir: Path, step: int) -> None:
    """Remove a step's snapshot and stored activations; its record stays."""
    for folder in (OBSERVATIONS, SNAPSHOTS):
        step_file(run_dir / folder, step).unlink(missing_ok=True)


def _size(run_dir: Path, step: int) -> int:
    files = [step_file(run_dir / folder, step) for folder in (SNAPSHOTS, OBSERVATIONS)]
    return sum(path.stat().st_size for path in files if path.exists())
