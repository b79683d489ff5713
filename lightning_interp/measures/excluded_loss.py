# SPDX-License-Identifier: Apache-2.0
"""Excluded loss: how badly the network does on its training pairs once key frequencies are removed."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

import torch

from lightning_interp.core.errors import MeasureSkipped
from lightning_interp.core.records import Observation
from lightning_interp.core.shapes import Float, Float64, Int, Tensor
from lightning_interp.measures.base import Cost, GroupMeasure, Need
from lightning_interp.measures.cyclic_group import CyclicGroupTask
from lightning_interp.measures.fourier import band_pass, label_table
from lightning_interp.measures.label import NATS, Chart, Label, Labels
from lightning_interp.measures.losses import cross_entropy
from lightning_interp.measures.pair_table import MINIMUM_COVERAGE, PairTable, pair_table
from lightning_interp.measures.restricted_loss import checked_freqs

SAFE_SUM = 1e-250
"""Sums of exponentials below this have lost digits to underflow (float64 ends at 1e-308)."""


def excluded_loss(
    logits: Float[Tensor, "pair class"],
    labels: Int[Tensor, " pair"],
    targets: Int[Tensor, " pair"],
    *,
    table: Float[Tensor, "label class"],
    key_freqs: Int[Tensor, " freq"],
) -> Float64[Tensor, ""]:
    """Loss after removing the key frequencies from the logits, all of them at once, without a correction of the mean.

    Args:
        logits: Scores of the training pairs.
        labels: Exponent of the answer of each training pair.
        targets: Class of each training pair.
        table: Label table (`label_table`) of all pairs.
        key_freqs: Frequencies to remove, each in 1 .. order // 2; with none, the plain loss.

    Returns:
        Mean cross-entropy in nats.

    Raises:
        ShapeError: A frequency is out of range, or a target is not one of the classes.

    References:
        Nanda et al. 2023, section 5, https://arxiv.org/abs/2301.05217
    """
    removed = band_pass(table, key_freqs=key_freqs)
    return cross_entropy(logits.double() - removed[labels], targets).mean()


def excluded_loss_by_frequency(
    logits: Float[Tensor, "pair class"],
    labels: Int[Tensor, " pair"],
    targets: Int[Tensor, " pair"],
    *,
    table: Float[Tensor, "label class"],
) -> Float64[Tensor, " freq"]:
    """Excluded loss of every single frequency 1 .. order // 2, as `excluded_loss` gives it one by one.

    All pairs of one label lose the same row, so the partition sums of all frequencies are one matrix product per label:
    sum_c exp(L_c - B_kc) = exp(L) @ exp(-B_k). About 50 times fewer exponentials than one frequency at a time.

    Args:
        logits: Scores of the training pairs.
        labels: Exponent of the answer of each training pair.
        targets: Class of each training pair.
        table: Label table (`label_table`) of all pairs.

    Returns:
        One mean cross-entropy per frequency, nats.
    """
    order = table.shape[0]
    parts = torch.stack([band_pass(table, key_freqs=torch.tensor([k])) for k in range(1, order // 2 + 1)])
    total = torch.zeros(len(parts), dtype=torch.float64)
    for label in torch.unique(labels):
        rows = labels == label
        total += summed_losses(logits[rows].double(), targets[rows], parts[:, label])
    return total / len(labels)


def summed_losses(
    logits: Float64[Tensor, "pair class"], targets: Int[Tensor, " pair"], removed: Float64[Tensor, "freq class"]
) -> Float64[Tensor, " freq"]:
    """Summed cross-entropy over pairs of one label, for each frequency removed."""
    top, low = logits.amax(dim=1, keepdim=True), removed.amin(dim=1)
    sums = (logits - top).exp() @ (low[:, None] - removed).exp().T
    if not (sums > SAFE_SUM).all():
        return torch.stack([cross_entropy(logits - row, targets).sum() for row in removed])
    own = logits.gather(1, targets[:, None]) - removed.T[targets]
    return (sums.log() + (top - own) - low).sum(dim=0)


def all_pairs_table(pairs: PairTable, what: str) -> Float64[Tensor, "label class"]:
    """Label table over every pair of the probe.

    Raises:
        MeasureSkipped: The probe holds too few of all pairs, or no training pair.
    """
    if not pairs.train.any():
        raise MeasureSkipped(f"{what}: the probe has no training pair of the task")
    pairs.require_coverage(MINIMUM_COVERAGE)
    pairs.require_labels(torch.ones_like(pairs.train), what)
    return label_table(pairs.logits, pairs.label, order=pairs.order)


_excluded = partial(Label, unit=NATS, log=True, section="progress", chart=Chart("losses", "losses"))


class ExcludedLoss(GroupMeasure):
    """``excluded_loss``: loss on training pairs with all key frequencies removed from the logits at once, nats.

    Causal unless ``key_freqs`` is given: frequencies come from this snapshot's mirror-free held-out pairs. Close to the
    training loss while the network stores its answers, past ln(order) once they come from the circuit.

    Args:
        task: The group task.
        key_freqs: Fixed frequencies, such as the final network's.
    """

    name: ClassVar[str] = "excluded_loss"
    names: ClassVar[Labels] = {
        "excluded_loss": _excluded(
            "excluded loss, train (key frequencies)",
            about="training loss after removing the key frequencies from the logits, all at once, no correction of the mean",
        ),
    }
    needs: ClassVar[frozenset[Need]] = frozenset({"outputs"})
    cost: ClassVar[Cost] = "forward"

    def __init__(self, task: CyclicGroupTask, *, key_freqs: Sequence[int] | None = None) -> None:
        super().__init__(task)
        self.fixed = checked_freqs(key_freqs, task)

    def __call__(self, observation: Observation) -> Mapping[str, float]:
        """Compute the value; see `excluded_loss`."""
        pairs = pair_table(observation, self.task)
        table, train = all_pairs_table(pairs, self.name), pairs.train
        key_freqs = pairs.key_freqs(among=pairs.heldout(mirror_free=True)) if self.fixed is None else self.fixed
        loss = excluded_loss(pairs.logits[train], pairs.label[train], pairs.target[train], table=table, key_freqs=key_freqs)
        return {self.name: loss.item()}


class ExcludedLossMax(GroupMeasure):
    """``excluded_loss_max``: largest excluded loss of any single frequency, nats.

    Needs no key frequencies, so it is causal as it stands.
    """

    name: ClassVar[str] = "excluded_loss_max"
    names: ClassVar[Labels] = {
        "excluded_loss_max": _excluded(
            "excluded loss, train (worst frequency)",
            about="largest training loss after removing a single frequency; needs no choice of key frequencies",
        ),
    }
    needs: ClassVar[frozenset[Need]] = frozenset({"outputs"})
    cost: ClassVar[Cost] = "forward"

    def __call__(self, observation: Observation) -> Mapping[str, float]:
        """Compute the value; see `excluded_loss_by_frequency`."""
        pairs = pair_table(observation, self.task)
        table, train = all_pairs_table(pairs, self.name), pairs.train
        losses = excluded_loss_by_frequency(pairs.logits[train], pairs.label[train], pairs.target[train], table=table)
        return {self.name: losses.max().item()}
