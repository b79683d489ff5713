# SPDX-License-Identifier: Apache-2.0
"""What a fit says about snapshots it has not seen: their loadings, and how well half a snapshot predicts the other half."""

import math
from collections.abc import Mapping

import torch

from lightning_interp.core.shapes import Float, Float64, Tensor
from lightning_interp.tca.cp import CPFit
from lightning_interp.tca.updates import hals, least_squares

HALS_PASSES = 20
MEMORY = 0.5
"""What is left of earlier prediction errors after each refit."""


def loadings_of(
    snapshots: Float[Tensor, "*snapshot stimulus unit"], fit: CPFit, *, nonnegative: bool
) -> Float64[Tensor, "*snapshot rank"]:
    """Loading (course times weight) of each component in given snapshots, with stimulus and unit factors held.

    Args:
        snapshots: One snapshot or several.
        fit: A fit of tensors (snapshot, stimulus, unit).
        nonnegative: Whether loadings may not be negative.
    """
    stimuli, units = (factor.double() for factor in fit.factors[1:])
    batch = snapshots.double().reshape(-1, *snapshots.shape[-2:])
    mttkrp = torch.einsum("isu,sr,ur->ri", batch, stimuli, units)[None]
    grams = ((stimuli.T @ stimuli) * (units.T @ units))[None]
    loadings = least_squares(mttkrp, mttkrp, grams)
    if nonnegative:
        loadings = loadings.clamp_min(0)
        for _ in range(HALS_PASSES):
            loadings = hals(loadings, mttkrp, grams)
    return loadings[0].T.reshape(*snapshots.shape[:-2], fit.rank)


class SlicePredictions:
    """Prediction errors of new snapshots by rank, older ones fading."""

    def __init__(self, *, nonnegative: bool) -> None:
        self._nonnegative = nonnegative
        self._wrong: dict[int, float] = {}
        self._energy: dict[int, float] = {}

    def judge(self, snapshot: Float64[Tensor, "stimulus unit"], fits: Mapping[int, CPFit]) -> None:
        """Find loadings on every other stimulus, predict those between, and the other way round."""
        if snapshot.shape[0] < 2:
            return
        for rank, fit in fits.items():
            for start in range(2):
                seen, hidden = slice(start, None, 2), slice(1 - start, None, 2)
                stimuli, units = fit.factors[1].double(), fit.factors[2].double()
                half = CPFit(fit.cp_weights, (fit.factors[0], stimuli[seen], units), math.nan, True, 0)
                loadings = loadings_of(snapshot[seen], half, nonnegative=self._nonnegative)
                guess = (stimuli[hidden] * loadings) @ units.T
                self._wrong[rank] = self._wrong.get(rank, 0.0) + float((snapshot[hidden] - guess).square().sum())
                self._energy[rank] = self._energy.get(rank, 0.0) + float(snapshot[hidden].square().sum())

    def errors(self) -> dict[int, float]:
        """Relative error by rank, empty before the first prediction."""
        return {rank: math.sqrt(wrong / self._energy[rank]) for rank, wrong in self._wrong.items() if self._energy[rank] > 0}

    def age(self) -> None:
        """Let what is known fade, at a refit."""
        for sums in (self._wrong, self._energy):
            for rank in sums:
                sums[rank] *= MEMORY

    def state(self) -> dict[str, dict[str, float]]:
        """Plain values."""
        return {str(rank): {"wrong": self._wrong[rank], "energy": self._energy[rank]} for rank in self._wrong}

    def restore(self, state: Mapping[str, Mapping[str, float]]) -> None:
        """Go on from plain values."""
        self._wrong = {int(rank): sums["wrong"] for rank, sums in state.items()}
        self._energy = {int(rank): sums["energy"] for rank, sums in state.items()}
