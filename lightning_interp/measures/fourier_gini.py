# SPDX-License-Identifier: Apache-2.0
"""How unequally the embedding and the readout of a group task use the frequencies."""

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from lightning_interp.core.records import Observation
from lightning_interp.core.shapes import Float, Float64, Tensor
from lightning_interp.measures.base import GroupMeasure, Need
from lightning_interp.measures.fourier import frequency_power
from lightning_interp.measures.group_tables import embedding_table, readout_table
from lightning_interp.measures.label import Chart, Label, Labels
from lightning_interp.measures.sparsity import gini


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


_gini = partial(
    Label, unit="0 to 1", section="progress", row=4, chart=Chart("spectra and sparsity", "Fourier sparsity (Gini)")
)


class GiniEmbedding(GroupMeasure):
    """``gini_embedding``: Gini coefficient of the Fourier norms of the embedding W_E over tokens, in [0, 1).

    Rises from the start of circuit formation and jumps in cleanup.
    """

    name: ClassVar[str] = "gini_embedding"
    names: ClassVar[Labels] = {
        "gini_embedding": _gini(
            "Fourier Gini, embedding",
            about="Gini coefficient of the norms of the Fourier rows of the embedding: 0 flat, 1 a single frequency",
        ),
    }
    needs: ClassVar[frozenset[Need]] = frozenset({"weights"})

    def __call__(self, observation: Observation) -> Mapping[str, float]:
        """Compute the value; see `fourier_gini`."""
        return {self.name: fourier_gini(embedding_table(self.task, observation)).item()}


class GiniReadout(GroupMeasure):
    """``gini_readout``: Gini coefficient of the Fourier norms over classes of W_L = W_U W_out, in [0, 1).

    W_L maps hidden units of the last MLP to logits. In networks without one (``mlp_out`` None or ``"none"``) W_U alone
    is taken.
    """

    name: ClassVar[str] = "gini_readout"
    names: ClassVar[Labels] = {"gini_readout": _gini("Fourier Gini, readout", about="the same of the neuron-to-logit map")}
    needs: ClassVar[frozenset[Need]] = frozenset({"weights"})

    def __call__(self, observation: Observation) -> Mapping[str, float]:
        """Compute the value; see `fourier_gini`."""
        return {self.name: fourier_gini(readout_table(self.task, observation)).item()}
