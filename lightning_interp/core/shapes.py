# SPDX-License-Identifier: Apache-2.0
"""Axis names and array types of the package, one import path for all of them.

Axes: ``snapshot`` (one per optimizer step captured), ``stimulus`` or ``example`` (one per probe input), ``unit`` (one per
neuron or channel of a layer), ``class`` (one per label), ``pair`` (one per input pair of a group task), ``freq``.
Shapes are checked by beartype during tests only (``--jaxtyping-packages`` in pyproject.toml).
"""

from jaxtyping import Bool as Bool
from jaxtyping import Float as Float
from jaxtyping import Float64 as Float64
from jaxtyping import Int as Int
from jaxtyping import Shaped as Shaped
from torch import Tensor as Tensor
