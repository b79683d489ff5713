# SPDX-License-Identifier: Apache-2.0
"""The runs that a page may show: those named when it was started, and those that appear in a folder named then.

Whoever asks for a run asks by a key of this table; no text that comes over the network ever becomes part of a path.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_interp.core.console import printable
from lightning_interp.core.errors import RunError
from lightning_interp.dashboards.run_view import RunFollower, RunView
from lightning_interp.store.layout import MANIFEST
from lightning_interp.store.manifest import holds_run


@dataclass(frozen=True)
class Look:
    """A run as it was last read.

    Attributes:
        key: Its key in the table.
        name: What it is called, printable.
        view: What could be read last; None where nothing could ever be.
        version: Changes with the view.
        problem: Why it cannot be read now, a sentence; empty where it can.
    """

    key: str
    name: str
    view: RunView | None
    version: int
    problem: str


class KnownRun:
    """One run of the table. Safe to use from several threads."""

    def __init__(self, key: str, name: str, path: Path) -> None:
        self.key, self.name, self.path = key, name, path
        self.lock = threading.RLock()
        self._follower: RunFollower | None = None
        self._view: RunView | None = None
        self._version = 0

    def look(self) -> Look:
        """The run now; where it cannot be read, what was read before and the reason."""
        with self.lock:
            try:
                self._read()
                problem = ""
            except RunError as err:
                problem = str(err)
            except Exception as err:  # a file may hold anything; the other runs go on
                problem = f"{self.path}: cannot be read now ({type(err).__name__}: {err})."
            return Look(self.key, self.name, self._view, self._version, printable(problem))

    def _read(self) -> None:
        if not holds_run(self.path):
            raise RunError(f"{self.path} is gone (no {MANIFEST}). What was read before stays on the page.")
        self._follower = self._follower or RunFollower(self.path)
        view = self._follower.look()
        if view is not self._view:
            self._view, self._version = view, self._version + 1


class KnownRuns:
    """The table.

    Args:
        paths: Run directories, and folders of run directories.

    Raises:
        RunError: A path is no folder.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._runs: dict[Path, KnownRun] = {}
        self._by_key: dict[str, KnownRun] = {}
        self._folders: list[Path] = []
        self._lock = threading.Lock()
        for path in paths:
            if not path.is_dir():
                raise RunError(
                    f"{path}: no such folder. Give a run directory, or the folder that run directories appear in."
                )
            if holds_run(path):
                self._add(path.resolve())
            else:
                self._folders.append(path.resolve())
        self.named = len(self._runs)
        self.all()

    def all(self) -> tuple[KnownRun, ...]:
        """Every run there is or was: those named first, then those of folders, the latest name first."""
        with self._lock:
            for folder in self._folders:
                for path in sorted(_run_directories(folder)):
                    self._add(path)
            runs = list(self._runs.values())
        later = sorted(runs[self.named :], key=lambda run: run.path.name, reverse=True)
        return (*runs[: self.named], *later)

    def get(self, key: str) -> KnownRun | None:
        """The run of a key, None for any other text."""
        return self._by_key.get(key)

    def _add(self, path: Path) -> None:
        if path in self._runs:
            return
        name = printable(path.name)
        same = sum(run.path.name == path.name for run in self._runs.values())
        run = KnownRun(f"r{len(self._runs)}", f"{name} ({same + 1})" if same else name, path)
        self._runs[path] = self._by_key[run.key] = run


def _run_directories(folder: Path) -> list[Path]:
    """Run directories right inside a folder. Links are not followed: they may lead anywhere."""
    try:
        return [path for path in folder.iterdir() if not path.is_symlink() and path.is_dir() and holds_run(path)]
    except OSError:
        return []
