# SPDX-License-Identifier: Apache-2.0
"""What a measure is: a name, its needs and a call from an observation to named numbers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

from lightning_interp.core.records import Observation
from lightning_interp.core.shapes import Tensor

Need = Literal["weights", "outputs", "activations", "gradients", "history", "replica"]
Cost = Literal["free", "forward", "heavy"]


class Measure(ABC):
    """One observable of a snapshot.

    A measure returns finite numbers, and finite 1-D tensors under its `vector_names`. Where it has nothing to say it raises
    `MeasureSkipped` with the reason, or leaves the name out of the mapping; it never returns NaN. A key
    ``name/<layer or parameter>`` is per-layer detail: it is kept in the run directory and not sent to loggers.

    Attributes:
        name: Short name, unique among the measures of a run.
        names: Scalar names (without per-layer detail) the measure may return; loggers see these from the first row.
        vector_names: Names under which it may return floating 1-D tensors, kept in the run directory as float32: for
            figures. No logger, no later measure and no phase sees them.
        needs: What of the observation it touches; decides what can run where no replica is possible.
        cost: ``free`` beside the snapshot itself, ``forward`` one pass over the probe, ``heavy`` anything more.
        causal: Whether only this and earlier snapshots are used.
    """

    name: ClassVar[str]
    names: ClassVar[tuple[str, ...]]
    vector_names: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[frozenset[Need]]
    cost: ClassVar[Cost] = "free"
    causal: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, observation: Observation) -> Mapping[str, float | Tensor]:
        """Compute the values for one snapshot.

        Raises:
            MeasureSkipped: The measure does not apply; the message is the reason.
        """
