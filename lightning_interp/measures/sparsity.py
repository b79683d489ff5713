# SPDX-License-Identifier: Apache-2.0
"""How few units carry an activation (Hoyer, share near zero) and how unequal values are (Gini)."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch

from lightning_interp.core.errors import MeasureSkipped, ShapeError
from lightning_interp.core.records import Observation, Split
from lightning_interp.core.shapes import Float, Float64, Tensor
from lightning_interp.measures.base import Cost, Measure, Need
from lightning_interp.measures.label import Chart, Label, Labels
from lightning_interp.measures.preconditions import layer_activations, layer_means

NEAR_ZERO = 1e-3
"""An activation counts as near zero up to this share of the layer's root mean square."""


def hoyer(activations: Float[Tensor, "stimulus unit"]) -> Float64[Tensor, " active"]:
    """Hoyer sparsity (sqrt n - |x|_1 / |x|_2) / (sqrt n - 1) of each stimulus' activation vector.

    Args:
        activations: One row per stimulus, n >= 2 units.

    Returns:
        One number in [0, 1] for each row that is not all zero, in order: 0 all units equal in size, 1 one unit active.

    Raises:
        ShapeError: Fewer than two units.

    References:
        Hoyer 2004, https://www.jmlr.org/papers/v5/hoyer04a.html
    """
    units = activations.shape[1]
    if units < 2:
        raise ShapeError(f"hoyer: `activations` needs two or more units, got shape {tuple(activations.shape)}.")
    wide = activations.double()
    wide = wide[wide.ne(0).any(dim=1)]
    scaled = wide / wide.abs().amax(dim=1, keepdim=True)
    ratio: Tensor = scaled.abs().sum(dim=1) / torch.linalg.vector_norm(scaled, dim=1)
    root = math.sqrt(units)
    return ((ratio - root) / (1 - root)).clamp(0, 1)


def near_zero_share(activations: Float[Tensor, "stimulus unit"]) -> Float64[Tensor, ""]:
    """Share of entries with |x| <= 1e-3 of the root mean square of all entries, in [0, 1]; 1 where all are zero.

    Args:
        activations: One row per stimulus, at least one entry.
    """
    wide = activations.double()
    threshold = NEAR_ZERO * wide.square().mean().sqrt()
    return (wide.abs() <= threshold).double().mean()


def gini(values: Float[Tensor, " entry"]) -> Float64[Tensor, ""]:
    """Gini coefficient sum_i (2 i - n - 1) x_(i) / (n sum x), x sorted ascending, i from 1.

    Args:
        values: Amounts, none negative.

    Returns:
        0 where all are equal (all zero included) to 1 - 1/n where one holds everything, float64.

    Raises:
        ShapeError: No values, or a negative or non-finite one.

    Example:
        >>> gini(torch.tensor([0.0, 0.0, 0.0, 5.0])).item()
        0.75
    """
    if not values.numel() or not (values >= 0).all() or not values.isfinite().all():
        raise ShapeError(f"gini: `values` needs one or more finite amounts >= 0, got {values.tolist()[:8]}.")
    ordered = values.double().sort().values
    total = ordered.sum()
    if total == 0:
        return total
    count = ordered.numel()
    ranks = 2 * torch.arange(1, count + 1, dtype=torch.float64, device=values.device) - count - 1
    return (ranks * ordered).sum() / (count * total)


class ActivationSparsity(Measure):
    """``hoyer`` and ``near_zero_share`` of activations, dimensionless; plain names are unweighted means over layers.

    ``hoyer/<layer>`` is the mean over stimuli with any activity (population sparsity); ``near_zero_share/<layer>``
    counts entries. Layers with a single unit or without activity have no Hoyer value.

    Args:
        split: Split of the probe the activations come from.
    """

    name: ClassVar[str] = "activation_sparsity"
    names: ClassVar[Labels] = {
        "hoyer": Label(
            "activation sparsity (Hoyer)",
            "0 to 1",
            section="sparsity",
            about="Hoyer sparsity of activations: 0 all equal, 1 a single unit; mean over layers, detail per layer",
            chart=Chart("spectra and sparsity", "sparsity of activations (Hoyer)", place=1),
        ),
        "near_zero_share": Label(
            "near-zero activations",
            "share",
            section="sparsity",
            about="share of activations that are nearly zero; mean over layers, detail per layer",
            chart=Chart("spectra and sparsity", "activations near zero (share)", place=1),
        ),
    }
    needs: ClassVar[frozenset[Need]] = frozenset({"activations"})
    cost: ClassVar[Cost] = "forward"

    def __init__(self, split: Split = "train") -> None:
        self.split: Split = split

    def __call__(self, observation: Observation) -> Mapping[str, float]:
        """Compute the values; see `hoyer` and `near_zero_share`."""
        layers = layer_activations(observation, self.split)
        layers = {layer: values for layer, values in layers.items() if values.numel()}
        if not layers:
            raise MeasureSkipped("no layer has any units")
        rows = {layer: hoyer(values) for layer, values in layers.items() if values.shape[1] > 1}
        hoyers = {layer: values.mean().item() for layer, values in rows.items() if values.numel()}
        shares = {layer: near_zero_share(values).item() for layer, values in layers.items()}
        return {**layer_means("hoyer", hoyers), **layer_means("near_zero_share", shares)}
