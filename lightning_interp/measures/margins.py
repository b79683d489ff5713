# SPDX-License-Identifier: Apache-2.0
"""How decidedly a network chooses its class, without asking which class is right."""

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import torch

from lightning_interp.core.errors import MeasureSkipped, ShapeError
from lightning_interp.core.records import SPLITS, Observation
from lightning_interp.core.shapes import Float, Float64, Tensor
from lightning_interp.measures.base import Cost, Measure, Need
from lightning_interp.measures.label import Chart, Label, Labels
from lightning_interp.measures.losses import CHUNK_ELEMENTS
from lightning_interp.measures.preconditions import require_scores


def score_margin(logits: Float[Tensor, "example class"]) -> Float64[Tensor, " unequal"]:
    """Highest minus second highest score of each example, in standard deviations of its scores over the classes.

    The division takes out the scale of the logits, so that neither weight norm nor temperature moves it: 0 for a tie,
    sqrt(C) for one class above C - 1 equal ones.

    Args:
        logits: Class scores, any floating dtype, two classes or more.

    Returns:
        One number for each example whose scores are not all equal, in order.

    Raises:
        ShapeError: Fewer than two classes.

    Example:
        >>> score_margin(torch.tensor([[0.0, 0.0, 7.0, 0.0]])).tolist()
        [2.0]
    """
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ShapeError(f"score_margin: `logits` must be [example, class], two classes or more, got {tuple(logits.shape)}.")
    margins = []
    for block in torch.split(logits, max(1, CHUNK_ELEMENTS // logits.shape[1])):
        scores = block.double()
        highest = scores.topk(2, dim=1).values
        spread = scores.std(dim=1)
        margins.append(((highest[:, 0] - highest[:, 1]) / spread)[spread > 0])
    return torch.cat(margins) if margins else torch.empty(0, dtype=torch.float64)


_margin = partial(Label, section="progress", chart=Chart("accuracies", "margins of scores"))


class ScoreMargin(Measure):
    """``train_margin`` and ``heldout_margin``: mean `score_margin` of each split, dimensionless.

    Uses no labels. A network that stored its training examples chooses decidedly among those and not among held-out
    ones; where a rule forms, both grow. With two classes it says nothing and is not measured. Null: the value of a network
    trained on shuffled labels.
    """

    name: ClassVar[str] = "score_margin"
    names: ClassVar[Labels] = {
        "train_margin": _margin(
            "score margin, train",
            row=3,
            about="mean over the training examples of the highest minus the second highest score, in standard deviations of "
            "the example's scores: 0 for a tie, at most the root of the number of classes; asks for no labels; from three "
            "classes on",
        ),
        "heldout_margin": _margin("score margin, held-out", row=2, about="the same of the held-out examples"),
    }
    needs: ClassVar[frozenset[Need]] = frozenset({"outputs"})
    cost: ClassVar[Cost] = "forward"

    def __call__(self, observation: Observation) -> Mapping[str, float]:
        """Compute the values; see `score_margin`."""
        found = {}
        for split in SPLITS:
            if not observation.has_split(split):
                continue
            logits = require_scores(observation, split)
            if logits.shape[1] < 3:
                raise MeasureSkipped("a margin needs three classes or more: of two scores it is the root of two always")
            margins = score_margin(logits)
            if margins.numel():
                found[f"{split}_margin"] = margins.mean().item()
        return found
