# SPDX-License-Identifier: Apache-2.0
"""How unequally the embedding and the readout of a group task use the frequencies."""

from collections.abc import Mapping
from typing import ClassVar

from lightning_interp.errors import ConfigError, MeasureSkipped
from lightning_interp.measures.base import Measure, Need
from lightning_interp.measures.cyclic_group import NO_MLP, CyclicGroupTask, tokens_by_exponent
from lightning_interp.measures.fourier import frequency_power
from lightning_interp.measures.group_matrices import neuron_to_logit, vocabulary_rows
from lightning_interp.measures.sparsity import gini
from lightning_interp.records import Observation
from lightning_interp.shapes import Float, Float64, Tensor


def fourier_gini(table: Float[Tensor, "element feature"]) -> Float64[Tensor, ""]:
    """Gini coefficient of the norms (not powers) of the Fourier transform of a table over the group, per frequency.

    Cosine and sine row of a frequency are joined in one norm and the constant is left out, so that shifting the table
    along the group, which only turns phases, changes nothing.

    Args:
        table: One row per group element in exponent order.

    Returns:
        0 where all frequencies are equal, near 1 where one holds everything; about 0.03 for random tables.

    References:
        Nanda et al. 2023, section 5, https://arxiv.org/abs/2301.05217
    """
    return gini(frequency_power(table).sqrt())


def resolved(task: CyclicGroupTask, observation: Observation) -> CyclicGroupTask:
    """The task with its matrices found in the snapshot.

    Raises:
        MeasureSkipped: They are not clear; the message lists candidates.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in observation.snapshot.weights.items()}
    try:
        return task.resolve(shapes)
    except ConfigError as error:
        raise MeasureSkipped(str(error)) from error


def group_rows(matrix: Float[Tensor, "row column"], task: CyclicGroupTask) -> Float[Tensor, "element width"]:
    """Rows of the group's elements in exponent order, other tokens dropped, from a matrix in either layout.

    Raises:
        MeasureSkipped: The matrix is not finite.
    """
    if not matrix.isfinite().all():
        raise MeasureSkipped("an embedding or readout matrix is not finite")
    return vocabulary_rows(matrix, task.p)[tokens_by_exponent(task.p, task.op)]


class GiniEmbedding(Measure):
    """``gini_embedding``: Gini coefficient of the Fourier norms of the embedding W_E over tokens, in [0, 1).

    Rises from the start of circuit formation and jumps in cleanup.

    Args:
        task: The group task.
    """

    name: ClassVar[str] = "gini_embedding"
    names: ClassVar[tuple[str, ...]] = ("gini_embedding",)
    needs: ClassVar[frozenset[Need]] = frozenset({"weights"})

    def __init__(self, task: CyclicGroupTask) -> None:
        self.task = task

    def __call__(self, observation: Observation) -> Mapping[str, float]:
        """Compute the value; see `fourier_gini`."""
        task = resolved(self.task, observation)
        table = group_rows(observation.weight(str(task.embedding)), task)
        return {self.name: fourier_gini(table).item()}


class GiniReadout(Measure):
    """``gini_readout``: Gini coefficient of the Fourier norms over classes of W_L = W_U W_out, in [0, 1).

    W_L maps hidden units of the last MLP to logits. In networks without one (``mlp_out`` None or ``"none"``) W_U alone
    is taken.

    Args:
        task: The group task.
    """

    name: ClassVar[str] = "gini_readout"
    names: ClassVar[tuple[str, ...]] = ("gini_readout",)
    needs: ClassVar[frozenset[Need]] = frozenset({"weights"})

    def __init__(self, task: CyclicGroupTask) -> None:
        self.task = task

    def __call__(self, observation: Observation) -> Mapping[str, float]:
        """Compute the value; see `fourier_gini`."""
        task = resolved(self.task, observation)
        readout = group_rows(observation.weight(str(task.unembedding)), task)
        if task.mlp_out not in (None, NO_MLP):
            mlp_out = observation.weight(task.mlp_out)
            if not mlp_out.isfinite().all():
                raise MeasureSkipped(f"weight {task.mlp_out} is not finite")
            readout = neuron_to_logit(readout, mlp_out)
        return {self.name: fourier_gini(readout).item()}
