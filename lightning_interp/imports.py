# SPDX-License-Identifier: Apache-2.0
"""Objects named by ``pkg.mod:name``, as the command line and YAML give them. Only what the user names is imported."""

import importlib
from typing import Any

from lightning_interp.errors import ConfigError


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
        found: Any = importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
    except ImportError as err:
        raise ConfigError(
            f"{argument}: cannot import {module_name!r} ({err}). Run from the folder that holds it, or install it."
        ) from err
    except AttributeError as err:
        raise ConfigError(f"{argument}: {module_name!r} has no {name!r} ({err}).") from err
    return found
