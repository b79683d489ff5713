# SPDX-License-Identifier: Apache-2.0
"""Lightning under both of its names: `lightning.pytorch` and `pytorch_lightning` are two packages with classes of their own.

A trainer takes only callbacks of its own package. One class that is a callback of both serves users of either.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

NAMESPACES = ("lightning.pytorch", "pytorch_lightning")


def _callback_classes() -> tuple[type, ...]:
    """The callback class of every namespace that is installed; `lightning` brings both."""
    return tuple(import_module(name).Callback for name in NAMESPACES if find_spec(name) is not None)


Callback: Any = type("Callback", _callback_classes(), {"__doc__": "A callback for trainers of either namespace."})


def is_overridden(hook: str, module: object) -> bool:
    """Whether a LightningModule's class, of either namespace, has a hook of its own.

    Args:
        hook: Name of the hook.
        module: The module.
    """
    owner = next(base for base in type(module).__mro__ if hook in vars(base))
    return not owner.__module__.startswith(NAMESPACES)
