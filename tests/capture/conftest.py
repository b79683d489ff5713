# SPDX-License-Identifier: Apache-2.0
"""A disk of one megabyte, for what happens when it is full."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own that holds 1 MB; needs the right to mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True, text=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as err:
        pytest.skip(f"no small file system can be mounted here: {getattr(err, 'stderr', err)}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
