# SPDX-License-Identifier: Apache-2.0
"""The git commit that a folder is at, and whether its files differ from it, without running what the repository names.

A repository's own configuration names programs (filters, a file system monitor, hooks, transports), and a folder that came
from somewhere else may be one. So the commit is read from files, and git compares the files with all of these switched off.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 10.0
"""Longest that git may take to compare the files."""
_HASH = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_MOST_BYTES = 16 * 2**20
_QUIET = {"core.fsmonitor": "false", "core.hooksPath": os.devnull, "protocol.allow": "never"}


@dataclass(frozen=True)
class Head:
    """What a repository is at.

    Attributes:
        root: Its folder.
        commit: Full hash, None where there is no commit yet or it cannot be read.
        branch: Name of the branch, None where none is checked out.
    """

    root: Path
    commit: str | None
    branch: str | None


def head_of(folder: Path) -> Head | None:
    """What the repository around a folder is at, None where there is none. Only files are read."""
    for root in (folder, *folder.parents):
        git = root / ".git"
        if git.is_file():  # of a further work tree or a submodule
            git = root / _text(git).removeprefix("gitdir:").strip()
        if (git / "HEAD").is_file():
            head = _text(git / "HEAD").strip()
            if not head.startswith("ref:"):
                return Head(root, _hash(head), None)
            name = head.removeprefix("ref:").strip()
            return Head(root, _hash(_reference(git, name)), name.removeprefix("refs/heads/"))
    return None


def files_changed(root: Path) -> bool | None:
    """Whether files that git knows differ from the commit, None where git cannot tell; it may take seconds.

    Submodules are left out.
    """
    git = shutil.which("git")
    if git is None:
        return None
    try:
        settings = _QUIET | {f"{name}.{key}": "" for name in _filters(git, root) for key in ("clean", "process", "smudge")}
        # Not `git diff`, which writes the index anew although it is told to take no locks.
        command = ["status", "--porcelain", "--no-renames", "--untracked-files=no", "--ignore-submodules=all"]
        done = _run(git, root, command, settings)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return bool(done.stdout) if done.returncode == 0 else None


def _filters(git: str, root: Path) -> set[str]:
    """Names of the filters that any configuration sets, each ``filter.<name>``.

    Raises:
        ValueError: One cannot be set on a command line.
    """
    told = _run(git, root, ["config", "--null", "--name-only", "--get-regexp", r"^filter\."], _QUIET).stdout
    found = {name.rpartition(".")[0] for name in os.fsdecode(told).split("\0") if name}
    if any("=" in name for name in found):
        raise ValueError("a filter with an equals sign in its name")
    return found


def _run(git: str, root: Path, command: list[str], settings: Mapping[str, str]) -> subprocess.CompletedProcess[bytes]:
    """Run git in a folder with settings that come before those of any file."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1"}
    settled = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return subprocess.run(
        [git, "-C", str(root), *settled, *command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=TIMEOUT_S,
        check=False,
    )


def _reference(git: Path, name: str) -> str:
    """What a reference holds, in a file of its own or in the list of them, also where a work tree shares them."""
    folders = [git]
    if (git / "commondir").is_file():
        folders.append(git / _text(git / "commondir").strip())
    for folder in folders:
        if ".." not in name and (folder / name).is_file():
            return _text(folder / name).strip()
        for line in _text(folder / "packed-refs").splitlines():
            if line.endswith(f" {name}"):
                return line.split(" ", 1)[0]
    return ""


def _hash(text: str) -> str | None:
    return text if _HASH.fullmatch(text) else None


def _text(path: Path) -> str:
    """The beginning of a small file, empty where it cannot be read."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_MOST_BYTES)
    except OSError:
        return ""
