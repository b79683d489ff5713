# SPDX-License-Identifier: Apache-2.0
"""Lightning under both of its names: `lightning.pytorch` and `pytorch_lightning` are two packages with classes of their own.

One of the two is enough; `lightning` brings the other with it. Nothing is imported here before it is asked for.
"""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

NAMESPACES = ("lightning.pytorch", "pytorch_lightning")
FABRICS = ("lightning.fabric", "lightning_fabric")


def installed(names: tuple[str, ...] = NAMESPACES) -> list[ModuleType]:
    """The modules of these names that there are, imported.

    Args:
        names: Names of two parts at most, of which one is needed.

    Raises:
        ModuleNotFoundError: There is none of them.
    """
    found = [name for name in names if find_spec(name.partition(".")[0]) is not None and find_spec(name) is not None]
    if not found:
        raise ModuleNotFoundError(
            f"lightning_interp: neither {' nor '.join(names)} is installed. Run `pip install lightning`; "
            "loops without a Trainer have `lightning_interp.Monitor`.",
            name=names[0].partition(".")[0],
        )
    return [import_module(name) for name in found]


def is_overridden(hook: str, module: object) -> bool:
    """Whether a LightningModule's class, of either namespace, has a hook of its own."""
    owner = next(base for base in type(module).__mro__ if hook in vars(base))
    return not owner.__module__.startswith(NAMESPACES)
