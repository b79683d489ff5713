# SPDX-License-Identifier: Apache-2.0
"""The numbers that the component figure draws: factors at readable scales, and stimuli in groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lightning_interp.core.errors import ShapeError

Matrix = NDArray[np.float64]

SPLIT_NAMES = {False: "train", True: "held-out"}


class ComponentModel(Protocol):
    """What is drawn of a fit: a `CPFit`, or components read from a run directory."""

    @property
    def cp_weights(self) -> Any:
        """One weight per component."""
        ...

    @property
    def factors(self) -> Sequence[Any]:
        """Three matrices with unit-norm columns: [snapshot, rank], [stimulus, rank], [unit, rank]."""
        ...

    @property
    def relative_error(self) -> float:
        """‖X − X̂‖_F / ‖X‖_F."""
        ...

    @property
    def flags(self) -> Sequence[str]:
        """What to know before reading the components."""
        ...


@dataclass(frozen=True)
class Loadings:
    """Factors at scales that do not depend on the number of stimuli and units.

    Attributes:
        snapshot: Root mean square over stimuli and units of each component in each snapshot, with the sign of its factor. In
            units of the tensor's entries: the share of the RMS where every snapshot was scaled to RMS 1.
        stimulus: Stimulus factor with every column scaled to RMS 1.
        unit: Unit factor with every column scaled to RMS 1.
        shares: Each component's share of the model's energy; adds up to 1.
        places: Place of each component in descending order of weight, from 0.
    """

    snapshot: Matrix
    stimulus: Matrix
    unit: Matrix
    shares: NDArray[np.float64]
    places: NDArray[np.int64]

    @property
    def rank(self) -> int:
        """Number of components."""
        return int(self.snapshot.shape[1])


@dataclass(frozen=True)
class StimulusGroup:
    """Neighbouring stimuli of one split and one class.

    Attributes:
        heldout: Whether they are held out.
        label: Class, None where it is not known.
        members: Indices of the stimuli.
    """

    heldout: bool
    label: int | None
    members: NDArray[np.int64]


def loadings(fit: ComponentModel) -> Loadings:
    """Loadings of a fit.

    Raises:
        ShapeError: The fit does not have the three axes (snapshot, stimulus, unit).
    """
    weights, factors = as_array(fit.cp_weights), [as_array(factor) for factor in fit.factors]
    if len(factors) != 3:
        raise ShapeError(
            f"components_figure: expected a fit with 3 axes (snapshot, stimulus, unit), got {len(factors)}. "
            "Fit `open_run(path).activations(layer)`."
        )
    snapshot, stimulus, unit = factors
    energy = weights**2
    places = np.empty(len(weights), dtype=np.int64)
    places[np.argsort(-weights, kind="stable")] = np.arange(len(weights))
    return Loadings(
        snapshot * weights / np.sqrt(len(stimulus) * len(unit)),
        stimulus * np.sqrt(len(stimulus)),
        unit * np.sqrt(len(unit)),
        energy / max(float(energy.sum()), np.finfo(np.float64).tiny),
        places,
    )


def stimulus_groups(count: int, labels: Any | None, heldout: Any | None) -> list[StimulusGroup]:
    """All stimuli: train before held-out, classes in ascending order within each.

    Args:
        count: Number of stimuli.
        labels: Integer class of each, None where classes are not known.
        heldout: Whether each is held out, None where that is not known; then all are in one group of the first kind.

    Raises:
        ShapeError: Not one label, or not one split, for each stimulus.
    """
    classes = _one_each("labels", labels, count)
    split = _one_each("heldout", heldout, count).astype(bool)
    groups = []
    for held in (False, True):
        for label in np.unique(classes[split == held]):
            members = np.flatnonzero((split == held) & (classes == label))
            groups.append(StimulusGroup(held, None if labels is None else int(label), members))
    return groups


def units_carrying(loading: NDArray[np.float64], share: float = 0.9) -> int:
    """Fewest units that together carry a share of the squared loading; 0 where there is none.

    >>> units_carrying(np.array([0.0, 3.0, 1.0]))
    1
    """
    energy = np.sort(loading**2)[::-1].cumsum()
    return int(np.searchsorted(energy, share * energy[-1]) + 1) if energy.size and energy[-1] > 0 else 0


def as_array(values: Any) -> Matrix:
    """A tensor of any device, or an array, in float64."""
    values = values.detach().cpu().numpy() if hasattr(values, "detach") else values
    return np.asarray(values, dtype=np.float64)


def _one_each(name: str, values: Any | None, count: int) -> NDArray[np.int64]:
    if values is None:
        return np.zeros(count, dtype=np.int64)
    found = as_array(values).astype(np.int64)
    if found.shape != (count,):
        raise ShapeError(f"components_figure: `{name}` needs one entry for each of {count} stimuli, got {found.shape}.")
    return found
