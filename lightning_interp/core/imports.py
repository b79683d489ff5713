# SPDX-License-Identifier: Apache-2.0
"""Objects named by ``pkg.mod:name``, as the command line and YAML give them. Only what the user names is imported.

A command runs in a folder that a stranger may have filled, so that folder is never on ``sys.path``. It is searched only
for a name the user gives that is found nowhere else, last, and for as long as that import takes.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_interp.core.errors import ConfigError

_offered: list[str] = []
_needed: list[str] = []


@contextmanager
def also_from(folders: Sequence[str | Path]) -> Iterator[None]:
    """Let `import_object` find names in these folders, too, for the duration of the block.

    Args:
        folders: Folders that the user's own files may lie in, such as the one a command is run in.
    """
    before = list(_offered)
    _offered.extend(str(folder) for folder in folders)
    try:
        yield
    finally:
        _offered[:] = before


def folders_needed() -> tuple[str, ...]:
    """Folders off ``sys.path`` that an import needed so far: another process needs them for the same objects."""
    return tuple(_needed)


def need(folders: Sequence[str]) -> None:
    """Remember folders that another process needed: this one needs them for the same objects."""
    _needed.extend(folder for folder in folders if folder not in _needed)


@contextmanager
def searched_last(folders: Sequence[str]) -> Iterator[None]:
    """Have folders at the end of ``sys.path`` for the duration of the block."""
    added = [folder for folder in folders if folder not in sys.path]
    if added:
        sys.path.extend(added)
        importlib.invalidate_caches()
    try:
        yield
    finally:
        for folder in added:
            if folder in sys.path:  # what was imported may have rewritten the path
                sys.path.remove(folder)


def is_found(package: str) -> bool:
    """Whether a top-level package or module can be imported, counting the folders of `also_from`. Nothing is run."""
    return _is_found_now(package) or any(_holds(folder, package) for folder in _offered)


def folders_for(module: str) -> tuple[str, ...]:
    """Folders of `also_from` that alone hold a module, for a process that imports it."""
    return tuple(_folders_of(module.partition(".")[0]))


def import_object(path: str, *, argument: str) -> Any:
    """The object a path names.

    Args:
        path: ``pkg.mod:name`` or ``pkg.mod:Class.name``.
        argument: Argument the path was given for, named in errors.

    Raises:
        ConfigError: The path has another form, or the module or name does not exist.

    >>> import_object("math:pi", argument="module")
    3.141592653589793
    """
    module_name, mark, name = path.partition(":")
    if not mark or not module_name or not name:
        raise ConfigError(f"{argument}: expected 'pkg.mod:name', got {path!r}.")
    try:
        found: Any = _import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
    except ImportError as err:
        raise ConfigError(
            f"{argument}: cannot import {module_name!r} ({err}). "
            f"Run from the folder that holds it, or install it.{_hidden(module_name)}"
        ) from err
    except (AttributeError, ValueError) as err:
        raise ConfigError(f"{argument}: {module_name!r} has no {name!r} ({err}).{_hidden(module_name)}") from err
    return found


def where_it_is(err: BaseException) -> str:
    """A sentence where code the user named lacks a module that lies in a folder of `also_from`; empty otherwise.

    Args:
        err: What calling the code raised.
    """
    name = (err.name or "").partition(".")[0] if isinstance(err, ModuleNotFoundError) else ""
    folder = next((folder for folder in _offered if name and _holds(folder, name)), None)
    if folder is None:
        return ""
    return (
        f" {name!r} lies in {folder}, which is searched while your file is imported, not later: import it there, at the top."
    )


def _import_module(name: str) -> Any:
    folders = _folders_of(name.partition(".")[0])
    need(folders)
    with searched_last(folders):
        return importlib.import_module(name)


def _folders_of(package: str) -> list[str]:
    """Folders a package has to be imported from because it is found nowhere else."""
    return [] if _is_found_now(package) else [folder for folder in _offered if _holds(folder, package)]


def _is_found_now(package: str) -> bool:
    """Whether there is such a package; a folder without a file of its own, which others may add to, does not count."""
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:  # in `sys.modules` without one, as `__main__` is
        return True
    return spec is not None and spec.origin is not None


def _holds(folder: str, package: str) -> bool:
    return (Path(folder) / f"{package}.py").is_file() or (Path(folder) / package).is_dir()


def _hidden(name: str) -> str:
    """A sentence where a file of the user's has the name of something that is found first."""
    package = name.partition(".")[0]
    folder = next((folder for folder in _offered if _holds(folder, package)), None)
    loaded = sys.modules.get(package)
    origin = getattr(loaded, "__file__", None) or next(iter(getattr(loaded, "__path__", ())), None)
    if folder is None or origin is None or Path(origin).is_relative_to(folder):
        return ""
    return f" {package!r} is {origin}; the one in {folder} comes after it: rename yours, or set PYTHONPATH={folder}."
