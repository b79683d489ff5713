# SPDX-License-Identifier: Apache-2.0
"""Held-out loss with answers exchanged between examples: a bound of what can be had without looking at the input."""

from collections.abc import Mapping
from typing import ClassVar

from lightning_interp.core.records import Observation
from lightning_interp.measures.base import Cost, Measure, Need
from lightning_interp.measures.label import NATS, Chart, Label, Labels
from lightning_interp.measures.preconditions import require_finite, require_split


class ShuffledLoss(Measure):
    """``shuffled_loss``: held-out loss where each example is given the answer of another, in the unit of the held-out loss.

    A prediction cannot depend on an answer it never saw, so up to sampling this never lies under the loss of the best
    constant prediction; its least so far bounds that from above, whatever the loss is. Of class scores it is the mean over
    all exchanges; of a loss that only the module knows one exchange, always the same, and one more pass over the held-out
    examples. Not measured where the constant's loss is known already, or where no answers can be told from inputs.
    """

    name: ClassVar[str] = "shuffled_loss"
    names: ClassVar[Labels] = {
        "shuffled_loss": Label(
            "held-out loss, answers exchanged",
            NATS,
            log=True,
            section="progress",
            row=6,
            about="held-out loss where each example is given the answer of another: its least bounds what can be had "
            "without looking at the input",
            chart=Chart("losses", "held-out loss with answers exchanged", place=3),
        )
    }
    needs: ClassVar[frozenset[Need]] = frozenset({"outputs"})
    cost: ClassVar[Cost] = "heavy"

    def __call__(self, observation: Observation) -> Mapping[str, float]:
        """Compute the value; see `Observation.exchanged_loss`."""
        require_split(observation, "heldout")
        loss = observation.exchanged_loss("heldout").item()
        return {self.name: require_finite(loss, "the held-out loss with answers exchanged")}
