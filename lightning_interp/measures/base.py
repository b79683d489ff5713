# SPDX-License-Identifier: Apache-2.0
"""What a measure is: a name, its needs and a call from an observation to named numbers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

from lightning_interp.core.errors import ConfigError
from lightning_interp.core.records import Observation
from lightning_interp.core.shapes import Tensor
from lightning_interp.measures.cyclic_group import CyclicGroupTask
from lightning_interp.measures.label import Label, Labels, is_plain_label, plain_label

Need = Literal["weights", "outputs", "activations", "gradients", "history", "replica"]
Cost = Literal["free", "forward", "heavy"]
"""The cheapest first."""


class Measure(ABC):
    """One observable of a snapshot.

    A measure returns finite numbers, and finite 1-D tensors under its `vector_names`. Where it has nothing to say it raises
    `MeasureSkipped` with the reason, or leaves the name out of the mapping; it never returns NaN. A key
    ``name/<layer or parameter>`` is per-layer detail: it is kept in the run directory and not sent to loggers.

    Attributes:
        name: Short name, unique among the measures of a run.
        names: Scalar names (without per-layer detail) the measure may return, each with its label; loggers see these from
            the first row. Names without labels are shown as they are.
        vector_names: Names under which it may return floating 1-D tensors, kept in the run directory as float32: for
            figures. No logger, no later measure and no phase sees them.
        needs: What of the observation it touches; decides what can run where no replica is possible.
        cost: ``free`` beside the snapshot itself, ``forward`` one pass over the probe, ``heavy`` anything more; cheap
            measures of a snapshot are computed first.
        causal: Whether only this and earlier snapshots are used; a measure that is not causal is refused in a live run.
    """

    name: ClassVar[str]
    names: ClassVar[Labels | tuple[str, ...]]
    vector_names: ClassVar[Labels | tuple[str, ...]] = ()
    needs: ClassVar[frozenset[Need]]
    cost: ClassVar[Cost] = "free"
    causal: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, observation: Observation) -> Mapping[str, float | Tensor]:
        """Compute the values for one snapshot.

        Raises:
            MeasureSkipped: The measure does not apply; the message is the reason.
        """


class GroupMeasure(Measure):
    """A measure of a declared group task.

    Args:
        task: The group task.
    """

    def __init__(self, task: CyclicGroupTask) -> None:
        self.task = task


def labels_of(measure: Measure | type[Measure]) -> dict[str, Label]:
    """Labels of a measure's scalars, by name; empty if it only lists the names.

    Raises:
        ConfigError: Something else than a `Label` of texts and plain numbers is declared.
    """
    labels = measure.names if isinstance(measure.names, Mapping) else {}
    for name, label in labels.items():
        if not isinstance(label, Label) or not is_plain_label(plain_label(label)):
            raise ConfigError(
                f"`measures`: {measure.name} declares {name!r} with {label!r}, expected a Label(...) of strings, "
                "`log` a bool and `row` an int."
            )
    return dict(labels)
