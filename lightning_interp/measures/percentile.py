# SPDX-License-Identifier: Apache-2.0
"""Held-out percentile: how high the true class ranks among its rivals before it wins, against the null of its class."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch

from lightning_interp.core.errors import MeasureSkipped, ShapeError
from lightning_interp.core.records import Observation
from lightning_interp.core.shapes import Bool, Float, Float64, Int, Shaped, Tensor
from lightning_interp.measures.base import Cost, Measure, Need
from lightning_interp.measures.class_null import class_null_z
from lightning_interp.measures.label import Chart, Label, Labels
from lightning_interp.measures.losses import CHUNK_ELEMENTS, check_targets
from lightning_interp.measures.preconditions import require_classes

MINIMUM_EXAMPLES = 30
"""Fewest examples a percentile is given for; the mean of 30 uniforms is normal to better than a percent."""


@dataclass(frozen=True)
class HeldoutPercentileResult:
    """Mean percentile of the true class and how far it stands out from what examples give to classes they are not.

    Attributes:
        percentile: Mean over examples of the share of rival candidates scored below the true class, ties half; [0, 1].
        z: `class_null_z`, in standard deviations; None if fewer than four classes are present.
        examples: Number of examples that count.
    """

    percentile: float
    z: float | None
    examples: int


def heldout_percentile(
    logits: Float[Tensor, "example class"],
    targets: Int[Tensor, " example"],
    *,
    candidates: Bool[Tensor, "example class"] | None = None,
) -> HeldoutPercentileResult:
    """Mean rank of the true class among the candidate classes, after removing each class's mean logit.

    With m candidates the percentile of one example is (candidates below + half of those equal) / (m - 1); by chance its
    mean is 1/2. How far examples of a class scatter together is read off the classes they are not: see `class_null_z`.

    Args:
        logits: Class scores of held-out examples.
        targets: True class of each example.
        candidates: Classes ranked for each example; all where None. Examples whose true class is no candidate, or the
            only one, do not count.

    Returns:
        Percentile, z and number of examples that count.

    Raises:
        ShapeError: A target is not one of the classes, or no example counts.

    References:
        Compare the rank statistic of Mann & Whitney 1947, https://doi.org/10.1214/aoms/1177730491
    """
    check_targets(logits, targets, caller="heldout_percentile")
    if candidates is None:
        candidates = torch.ones_like(logits, dtype=torch.bool)
    below, sizes = ranks_among(logits, targets.long(), candidates)
    counts = candidates.gather(1, targets.long()[:, None])[:, 0] & (sizes > 1)
    if not counts.any():
        raise ShapeError("heldout_percentile: no example has its true class among two or more `candidates`.")
    rivals = (sizes[counts] - 1).double()
    percentile = (below[counts] / rivals).mean().item()
    return HeldoutPercentileResult(percentile, class_null_z(logits, targets, candidates), len(rivals))


def ranks_among(
    logits: Float[Tensor, "example class"], targets: Int[Tensor, " example"], candidates: Bool[Tensor, "example class"]
) -> tuple[Float64[Tensor, " example"], Int[Tensor, " example"]]:
    """Candidates scored below each true class (ties half, itself not counted) and the number of candidates."""
    center = logits.mean(dim=0, dtype=torch.float64)
    rows = max(1, CHUNK_ELEMENTS // logits.shape[1])
    below = []
    parts = (torch.split(tensor, rows) for tensor in (logits, targets, candidates))
    for block, index, allowed in zip(*parts, strict=True):
        scores = block.double() - center
        true = scores.gather(1, index[:, None])
        rivals = allowed.scatter(1, index[:, None], False)
        below.append(((scores < true) & rivals).sum(dim=1) + 0.5 * ((scores == true) & rivals).sum(dim=1))
    return torch.cat(below).double(), candidates.sum(dim=1)


def never_seen_candidates(
    tokens: Int[Tensor, "example slot"], cooccurrence: Shaped[Tensor, "token class"]
) -> Bool[Tensor, "example class"]:
    """Classes of the training set that it never shows together with any token of the example, in either slot.

    A network that stores training pairs pushes each token's seen classes up and so its unseen ones down or aside. Among
    unseen classes alone it has no reason to prefer the true one: the null holds for a memorizer too.

    Args:
        tokens: Token ids of each example, without slots that always hold the same token.
        cooccurrence: True at [token, class] where the whole training set shows them together.
    """
    seen = cooccurrence.bool()
    with_example = seen[tokens.long()].any(dim=1)
    return seen.any(dim=0) & ~with_example


def varying_slots(tokens: Int[Tensor, "example slot"]) -> Bool[Tensor, " slot"]:
    """Slots that hold more than one token over the examples; a constant one ('=') tells nothing about the example."""
    return (tokens != tokens[:1]).any(dim=0)


def mirror_free(heldout: Int[Tensor, "example slot"], train: Int[Tensor, "trained slot"]) -> Bool[Tensor, " example"]:
    """True for held-out examples whose tokens in reverse order are no training example.

    For a commutative operation the mirrored pair has the same answer, so it is half solved by symmetry alone.
    """
    both = torch.cat([heldout.flip(1), train])
    _, ids = torch.unique(both, dim=0, return_inverse=True)
    return ~torch.isin(ids[: len(heldout)], ids[len(heldout) :])


_percentile = partial(Label, section="progress", row=1)


class HeldoutPercentile(Measure):
    """``heldout_percentile`` in [0, 1] (chance 0.5) and ``heldout_percentile_z`` in standard deviations of its class null.

    Rises above chance while held-out accuracy is still zero. All classes are candidates by default; for token pairs
    (the probe has co-occurrence counts) the never-co-seen ones, on pairs whose mirror is not trained on. Examples of a class
    or of a subject may move together: z has a standard deviation near 1 in untrained networks. With fewer than four classes
    among the examples there is no z. Null: 0.5 for shuffled labels.

    Args:
        minimum: Fewest examples that must count.
    """

    name: ClassVar[str] = "heldout_percentile"
    names: ClassVar[Labels] = {
        "heldout_percentile": _percentile(
            "held-out percentile",
            "share",
            about="where the right answer ranks among candidate answers on held-out examples",
            chart=Chart("accuracies", "held-out percentile (share)", place=1),
        ),
        "heldout_percentile_z": _percentile(
            "held-out percentile, z",
            "deviations of its null",
            about="how much higher right answers rank than the same examples rank answers that are not theirs, in standard "
            "deviations of the latter; from four classes on",
            chart=Chart("accuracies", "held-out percentile (standard deviations)", place=1),
        ),
    }
    needs: ClassVar[frozenset[Need]] = frozenset({"outputs"})
    cost: ClassVar[Cost] = "forward"

    def __init__(self, minimum: int = MINIMUM_EXAMPLES) -> None:
        self.minimum = minimum

    def __call__(self, observation: Observation) -> Mapping[str, float]:
        """Compute the values; see `heldout_percentile`."""
        logits, targets = require_classes(observation, "heldout")
        if logits.shape[1] < 2:
            raise MeasureSkipped("a percentile needs two classes or more")
        candidates = pair_candidates(observation, logits)
        if candidates is not None:
            logits = logits[:, : candidates.shape[1]]
            usable = candidates.gather(1, targets.long()[:, None])[:, 0] & (candidates.sum(dim=1) > 1)
        count = len(targets) if candidates is None else int(usable.sum())
        if count < self.minimum:
            raise MeasureSkipped(f"too few usable held-out examples: {count}, the percentile needs {self.minimum}")
        result = heldout_percentile(logits, targets, candidates=candidates)
        standing_out = {} if result.z is None else {"heldout_percentile_z": result.z}
        return {"heldout_percentile": result.percentile, **standing_out}


def pair_candidates(observation: Observation, logits: Float[Tensor, "example class"]) -> Tensor | None:
    """Candidates [example, class] of token-pair data, none for mirrored pairs; None where all classes are candidates.

    Raises:
        MeasureSkipped: Inputs are not token ids, or classes do not match the co-occurrence table.
    """
    table = None if observation.probe is None else observation.probe.cooccurrence
    if table is None:
        return None
    heldout, train = observation.inputs("heldout"), observation.inputs("train")
    tokens = heldout.ndim == 2 and len(heldout) == len(logits) and not heldout.is_floating_point()
    if not tokens or heldout.shape[1:] != train.shape[1:]:
        raise MeasureSkipped(f"token pairs need inputs [example, slot] of token ids, got {tuple(heldout.shape)}")
    if table.shape[1] > logits.shape[1]:
        raise MeasureSkipped(f"co-occurrence has {table.shape[1]} classes, the logits only {logits.shape[1]}")
    slots = varying_slots(torch.cat([heldout, train]))
    candidates = never_seen_candidates(heldout[:, slots], table)
    return candidates & mirror_free(heldout[:, slots], train[:, slots])[:, None]
