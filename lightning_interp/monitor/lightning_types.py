# SPDX-License-Identifier: Apache-2.0
"""Lightning's classes while a program runs: of every namespace that is installed. Type checkers see those of `lightning`.

A trainer takes only callbacks of its own package. One class that is a callback of both serves users of either.
"""

from functools import reduce
from operator import or_
from typing import Any

from lightning_interp.core.namespaces import installed

_packages = installed()

Callback: Any = type(
    "Callback",
    tuple(package.Callback for package in _packages),
    {"__doc__": "A callback for trainers of every namespace that is installed."},
)
Trainer: Any = reduce(or_, (package.Trainer for package in _packages))
LightningModule: Any = reduce(or_, (package.LightningModule for package in _packages))
LightningDataModule: Any = reduce(or_, (package.LightningDataModule for package in _packages))
"""What annotations name: the class of any of them."""
