# SPDX-License-Identifier: Apache-2.0
"""Embedding and readout of a group task as tables over the group, one row per element in exponent order."""

from lightning_interp.core.errors import ConfigError, MeasureSkipped
from lightning_interp.core.records import Observation
from lightning_interp.core.shapes import Float, Tensor
from lightning_interp.measures.cyclic_group import NO_MLP, CyclicGroupTask, tokens_by_exponent
from lightning_interp.measures.group_matrices import neuron_to_logit, vocabulary_rows


def embedding_table(task: CyclicGroupTask, observation: Observation) -> Float[Tensor, "element width"]:
    """Rows of the embedding W_E.

    Raises:
        MeasureSkipped: The matrix is not clear, or not finite.
    """
    found = resolved(task, observation)
    return group_rows(observation.weight(str(found.embedding)), found)


def readout_table(task: CyclicGroupTask, observation: Observation) -> Float[Tensor, "element hidden"]:
    """Rows of the map from hidden units of the last MLP to logits, W_L = W_U W_out; of W_U where there is no MLP.

    Raises:
        MeasureSkipped: A matrix is not clear, or not finite.
    """
    found = resolved(task, observation)
    readout = group_rows(observation.weight(str(found.unembedding)), found)
    if found.mlp_out in (None, NO_MLP):
        return readout
    mlp_out = observation.weight(found.mlp_out)
    if not mlp_out.isfinite().all():
        raise MeasureSkipped(f"weight {found.mlp_out} is not finite")
    return neuron_to_logit(readout, mlp_out)


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
