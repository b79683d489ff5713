# SPDX-License-Identifier: Apache-2.0
"""Which frequencies the embedding and the readout of a group task use, and how much of their power each holds."""

from collections.abc import Mapping
from typing import ClassVar

from lightning_interp.core.errors import MeasureSkipped
from lightning_interp.core.records import Observation
from lightning_interp.core.shapes import Float, Float64, Tensor
from lightning_interp.measures.base import GroupMeasure, Need
from lightning_interp.measures.fourier import frequency_power
from lightning_interp.measures.group_tables import embedding_table, readout_table
from lightning_interp.measures.label import NO_LABELS, Label, Labels

NOTHING = 1e-26
"""Part of a table's power that is rounding: a float64 transform of equal rows leaves some 1e-32 at the frequencies."""


def frequency_shares(table: Float[Tensor, "element feature"]) -> Float64[Tensor, " freq"]:
    """Share of each frequency 1 .. n // 2 in the power of a table over the group.

    Cosine and sine of a frequency count together, the constant not at all. For even n the last one is the alternating row
    alone: with one dimension in place of two, half the others' share in a random table.

    Args:
        table: One row per group element in exponent order.

    Returns:
        Shares that sum to 1.

    Raises:
        MeasureSkipped: No frequency has any power: all rows are equal.

    References:
        Nanda et al. 2023, section 4.1, https://arxiv.org/abs/2301.05217
    """
    wide = table.double()
    power = frequency_power(wide)
    total = power.sum()
    if total <= NOTHING * wide.square().sum():
        raise MeasureSkipped("no frequency has any power: the rows of all elements are equal")
    return power / total


class FourierPowerEmbedding(GroupMeasure):
    """Vector ``fourier_power_embedding``: share of each frequency in the power of the embedding W_E over tokens.

    Flat before circuit formation; in cleanup all but the key frequencies go.
    """

    name: ClassVar[str] = "fourier_power_embedding"
    names: ClassVar[Labels] = NO_LABELS
    vector_names: ClassVar[Labels] = {
        "fourier_power_embedding": Label(
            "Fourier power, embedding",
            "0 to 1",
            about="share of each frequency 1, 2, … in the power of the embedding, sum 1; for a group of even order the "
            "last is the alternating row, which has half the dimensions of the others",
        )
    }
    needs: ClassVar[frozenset[Need]] = frozenset({"weights"})

    def __call__(self, observation: Observation) -> Mapping[str, Tensor]:
        """Compute the shares; see `frequency_shares`."""
        return {self.name: frequency_shares(embedding_table(self.task, observation))}


class FourierPowerReadout(GroupMeasure):
    """Vector ``fourier_power_readout``: share of each frequency in the power over classes of W_L = W_U W_out.

    As for `GiniReadout`, W_U alone is taken in networks without an MLP before it.
    """

    name: ClassVar[str] = "fourier_power_readout"
    names: ClassVar[Labels] = NO_LABELS
    vector_names: ClassVar[Labels] = {
        "fourier_power_readout": Label("Fourier power, readout", "0 to 1", about="the same of the neuron-to-logit map")
    }
    needs: ClassVar[frozenset[Need]] = frozenset({"weights"})

    def __call__(self, observation: Observation) -> Mapping[str, Tensor]:
        """Compute the shares; see `frequency_shares`."""
        return {self.name: frequency_shares(readout_table(self.task, observation))}
