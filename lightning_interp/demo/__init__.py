# SPDX-License-Identifier: Apache-2.0
"""The modular addition network and its data, as the demo and ``examples/modular_addition.py`` train them."""

from lightning_interp.demo.data import ModularAdditionData
from lightning_interp.demo.model import ModularAddition

__all__ = ["ModularAddition", "ModularAdditionData"]
