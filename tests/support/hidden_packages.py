# SPDX-License-Identifier: Apache-2.0
"""Python processes, and all that they start, in which a package is not installed although it is."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SITE = """\
import sys
from importlib.machinery import PathFinder


class WithoutHidden(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == {hidden!r} else super().find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutHidden
"""


def run_without(hidden: str, arguments: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run Python in `folder` where `hidden` cannot be found; modules of `tests/support` can.

    Args:
        hidden: Name of a top-level package.
        arguments: Of the interpreter.
        folder: Working directory; gets a ``site`` folder.
    """
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(SITE.format(hidden=hidden), encoding="utf-8")
    path = os.pathsep.join(map(str, (site, REPOSITORY, Path(__file__).parent)))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
