# SPDX-License-Identifier: Apache-2.0
"""Python processes of ours that run nothing from the folder they are started in.

``python -m`` and ``python -c`` put the working directory first on the import path, and a ``PYTHONPATH`` may name it, too: a
`random.py` beside a training, or in a folder of downloaded checkpoints, would be run in place of python's own. So children
start without both (``-P``), import what they need, and take over the import path of their parent afterwards.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_OWN = Path(__file__).resolve().parents[1] / "__init__.py"
_START = """
import sys
from importlib.util import module_from_spec, spec_from_file_location
last, own, name = sys.argv[1:4]
del sys.argv[1:4]
sys.path += [entry for entry in last.split(chr(0x1f)) if entry and entry not in sys.path]
spec = spec_from_file_location('lightning_interp', own)
sys.modules['lightning_interp'] = module_from_spec(spec)
spec.loader.exec_module(sys.modules['lightning_interp'])
from runpy import run_module
run_module(name, run_name='__main__', alter_sys=True)
"""
"""Runs a module beside the very package that this process has, which may be another than an installed one."""


def module_command(module: str, *arguments: str) -> list[str]:
    """Command that runs a module, as ``python -m`` would, in an interpreter whose import path lacks the working directory.

    What only such an entry of PYTHONPATH holds is found last.
    """
    last = "\x1f".join(os.path.realpath(entry) for entry in _entries_of_the_folder())
    return [sys.executable, "-P", "-c", _START, last, str(_OWN), module, *arguments]


def child_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment for a child: that of this process with neither the working directory nor relative entries in PYTHONPATH.

    Args:
        environment: Variables to start from; those of this process where None.
    """
    kept = dict(os.environ if environment is None else environment)
    left_out = set(_entries_of_the_folder())
    entries = [entry for entry in kept.get("PYTHONPATH", "").split(os.pathsep) if entry not in left_out and entry]
    kept.pop("PYTHONPATH", None)
    return kept | ({"PYTHONPATH": os.pathsep.join(entries)} if entries else {})


@contextmanager
def safe_children() -> Iterator[None]:
    """For the duration of the block, python processes that a library starts leave the working directory out, too.

    `multiprocessing` starts its processes and their resource tracker with ``python -c``: only the environment reaches them.
    """
    before = {name: os.environ.get(name) for name in ("PYTHONSAFEPATH", "PYTHONPATH")}
    safe = {**child_environment(), "PYTHONSAFEPATH": "1"}
    try:
        _set({name: safe.get(name) for name in before})
        yield
    finally:
        _set(before)


def take_over(path: Sequence[str]) -> None:
    """Search for modules as the parent does, in its order; call it once everything of our own is imported."""
    sys.path[:] = path


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _entries_of_the_folder() -> list[str]:
    """Entries of PYTHONPATH that are the working directory or lie relative to it."""
    entries = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    try:
        here = os.path.realpath(os.curdir)
    except FileNotFoundError:  # the working directory was removed: nothing lies in it
        return []
    return [entry for entry in entries if not Path(entry).is_absolute() or os.path.realpath(entry) == here]
