# SPDX-License-Identifier: Apache-2.0
"""Where a training that starts comes from: the commit of its code, its command line, its seeds; nothing changes for it."""

import os
import sys
from contextlib import suppress
from pathlib import Path

import torch

from lightning_interp.config.git_state import Head, files_changed, head_of
from lightning_interp.config.masked_command import masked
from lightning_interp.store import Provenance

_SEED_VARIABLES = ("PL_GLOBAL_SEED", "PYTHONHASHSEED")


def provenance_now() -> Provenance:
    """What can be told at once; whether files differ from the commit takes git, and `changes_of` tells it."""
    head = _head()
    return Provenance(
        command=masked(sys.argv),
        directory=_working_directory(),
        repository="" if head is None else str(head.root),
        commit=None if head is None else head.commit,
        branch=None if head is None else head.branch,
        seeds=_seeds(),
    )


def changes_of(provenance: Provenance) -> bool | None:
    """Whether files of the repository differ from the commit, None where git cannot tell. It may take seconds."""
    return files_changed(Path(provenance.repository)) if provenance.commit else None


def _head() -> Head | None:
    """The repository of the main script, or of the working directory where it is a package's or a notebook's."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    folders = [] if script is None else [Path(script)]
    folders = [path.parent for path in folders if "site-packages" not in path.parts]
    for folder in (*folders, Path()):
        with suppress(OSError, ValueError, RuntimeError):  # a working directory may be gone
            if (head := head_of(folder.absolute())) is not None:
                return head
    return None


def _seeds() -> dict[str, int]:
    """Seeds that can be read without touching a generator."""
    seeds = {"torch": torch.initial_seed()}
    for name in _SEED_VARIABLES:
        with suppress(ValueError):  # not set, or PYTHONHASHSEED=random
            seeds[name] = int(os.environ.get(name, ""))
    return seeds


def _working_directory() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # it is gone
        return ""
