# SPDX-License-Identifier: Apache-2.0
"""Tensor components of a run, followed while it trains. What goes wrong here costs the components of a layer, no more."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from lightning_interp.analysis.followed_layer import FollowedLayer
from lightning_interp.core.shapes import Float, Tensor
from lightning_interp.core.tca_settings import TCA, component_name
from lightning_interp.store.layout import COMPONENTS, sweep_temporary

Result = TypeVar("Result")


class ComponentTracker:
    """Follows the components of every layer asked for.

    The analyzer commits the record and the timeline of a snapshot before it is folded in here, so that a fit delays neither.

    Args:
        run_dir: Run directory; the caller holds its analyzer lock.
        settings: What to fit, with the layers named.
        recorded: Gives the steps with a standing record, ascending.
        notice: Takes a line for the user.
        may_write: Whether this analyzer is still the one that writes the run directory.
        device: Where to compute.
        strict: Pass on what fails.
    """

    def __init__(
        self,
        run_dir: Path,
        settings: TCA,
        *,
        recorded: Callable[[], Sequence[int]],
        notice: Callable[[str], None],
        may_write: Callable[[], bool],
        device: str,
        strict: bool,
    ) -> None:
        self._recorded, self._notice, self._strict = recorded, notice, strict
        self._is_restored = False
        sweep_temporary(run_dir / COMPONENTS)
        self._layers = {
            layer: FollowedLayer(run_dir, layer, settings, device=device, notice=notice, may_write=may_write)
            for layer in settings.layers or ()
        }

    def loadings(self, step: int, activations: Mapping[str, Float[Tensor, "stimulus unit"]]) -> dict[str, float]:
        """Record values of one snapshot: its loading on each component of the latest fit, which has not seen it."""
        values: dict[str, float] = {}
        for layer in self._ready():
            if layer.layer in activations and step > layer.last_step:
                found = self._guarded(layer, partial(FollowedLayer.loadings, activations=activations[layer.layer])) or {}
                values |= {component_name(layer.layer, k): value for k, value in found.items() if math.isfinite(value)}
        return values

    def follow(self, step: int) -> None:
        """Fold in a snapshot whose record is committed; fits what is due."""
        for layer in self._ready():
            self._guarded(layer, lambda layer: layer.follow(step))

    def finish(self) -> None:
        """Fit once more with everything there is."""
        for layer in self._ready():
            self._guarded(layer, FollowedLayer.fit)

    def leave_gpu(self) -> None:
        """Compute on the CPU from now on."""
        for layer in list(self._layers.values()):
            self._guarded(layer, lambda layer: layer.move_to("cpu"))

    def _ready(self) -> list[FollowedLayer]:
        """Layers whose components can be had, after going on from what is on disk."""
        if not self._is_restored:
            self._is_restored = True
            for layer in list(self._layers.values()):
                self._guarded(layer, lambda layer: layer.restore(self._recorded()))
        return list(self._layers.values())

    def _guarded(self, layer: FollowedLayer, work: Callable[[FollowedLayer], Result]) -> Result | None:
        """Do a layer's work; where memory runs out, again on the CPU; where that fails, too, the layer is given up."""
        try:
            try:
                return work(layer)
            except torch.OutOfMemoryError:
                self._notice(f"out of memory on {layer.device} for components of {layer.layer}; they moved to the CPU")
                layer.device = "cpu"
                layer.restore(self._recorded())
                return work(layer)
        except Exception as err:
            if self._strict:
                raise
            self._notice(f"components of {layer.layer} failed, the analysis goes on without: {type(err).__name__}: {err}")
            self._layers.pop(layer.layer, None)
            return None
