# SPDX-License-Identifier: Apache-2.0
"""What a reader must know before believing components: degeneracy, too few directions, components that carry nothing."""

from dataclasses import replace

import torch

from lightning_interp.tca.compress import Compressed
from lightning_interp.tca.cp import CPFit

CANCELLING = -0.9
"""Product over modes of the cosines of two components at and below which they count as cancelling each other."""

VANISHING = 1e-6
"""Weight of a component, relative to the largest, below which it carries nothing."""


def flagged(fit: CPFit, compressed: Compressed) -> CPFit:
    """The fit with its flags; `CPFit` says what each means."""
    directions = independent_directions(compressed)
    pairs = list(zip(directions, fit.shape, strict=True))
    checks = {
        "degenerate": degeneracy(fit) <= CANCELLING,
        "rank_deficient": any(found < min(fit.rank, size) for found, size in pairs),
        "rank_above_mode_size": fit.rank > min(fit.shape),
        "constant_slices": any(found == 1 < size for found, size in pairs),
        "vanishing_component": bool((fit.cp_weights <= VANISHING * fit.cp_weights.max()).any()),
        "not_converged": not fit.converged,
    }
    return replace(fit, flags=tuple(name for name, holds in checks.items() if holds))


def degeneracy(fit: CPFit) -> float:
    """Lowest product over modes of the cosines of two components, in -1 .. 1; near -1 two of them cancel (1 for rank 1).

    References:
        Kolda & Bader 2009, section 3.3, https://doi.org/10.1137/07070111X
    """
    if fit.rank == 1:
        return 1.0
    cosines = torch.stack([factor.double().T @ factor.double() for factor in fit.factors]).prod(dim=0)
    return float(cosines.min())


def independent_directions(compressed: Compressed) -> list[int]:
    """Directions each mode's slices span, as far as rounding lets see, at most as many as were looked for."""
    return [int((spectrum > compressed.resolution * spectrum.max()).sum()) for spectrum in compressed.spectra]
