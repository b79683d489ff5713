# SPDX-License-Identifier: Apache-2.0
"""Restricted loss: how well the key frequencies alone answer held-out pairs."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, get_args

import torch

from lightning_interp.core.errors import ConfigError
from lightning_interp.core.records import Observation
from lightning_interp.core.shapes import Bool, Float, Float64, Int, Tensor
from lightning_interp.measures.base import Cost, GroupMeasure, Need
from lightning_interp.measures.cyclic_group import CyclicGroupTask
from lightning_interp.measures.fourier import band_pass, check_freqs, fourier_basis, label_table, row_frequencies
from lightning_interp.measures.label import NATS, Chart, Label, Labels
from lightning_interp.measures.pair_table import MINIMUM_COVERAGE, PairTable, pair_table

Pool = Literal["heldout", "all"]
Block = Literal["sum", "2x2", "3x3"]


def restricted_loss(
    table: Float[Tensor, "label class"],
    labels: Int[Tensor, " pair"],
    targets: Int[Tensor, " pair"],
    *,
    key_freqs: Int[Tensor, " freq"],
) -> Float64[Tensor, ""]:
    """Cross-entropy of the per-class mean logits plus the label table's part at the key frequencies.

    Keeps the directions cos and sin w_k(a op b), as the paper's released code does. Pool the table from held-out pairs:
    pooled over all pairs it carries the stored training answers into every held-out prediction, and a network that only
    memorizes falls below ln(order).

    Args:
        table: Label table (`label_table`) of the pairs pooled.
        labels: Exponent of the answer of each pair scored.
        targets: Class of each pair scored.
        key_freqs: Frequencies to keep, each in 1 .. order // 2; with none, the mean logits remain.

    Returns:
        Mean loss in nats; ln(order) is chance.

    Raises:
        ShapeError: A frequency is out of range.

    References:
        Nanda et al. 2023, section 5, https://arxiv.org/abs/2301.05217
    """
    kept = table.double().mean(dim=0) + band_pass(table, key_freqs=key_freqs)
    return -torch.log_softmax(kept, dim=1)[labels, targets].mean()


def block_logits(
    cube: Float[Tensor, "first second class"], *, key_freqs: Int[Tensor, " freq"], block: Block
) -> Float64[Tensor, "first second class"]:
    """Per-class mean plus, for each key frequency, one block of the 2-D Fourier transform over both operands.

    Args:
        cube: Logits of every pair, in exponent order.
        key_freqs: Frequencies to keep, each in 1 .. order // 2.
        block: ``2x2`` keeps cos and sin of one frequency in both operands, ``3x3`` their products with the constant, too.

    Raises:
        ShapeError: A frequency is out of range.
    """
    check_freqs(key_freqs, len(cube), caller="block_logits")
    wide = cube.double()
    rows, freqs = fourier_basis(len(cube)), row_frequencies(len(cube))
    mean = wide.mean(dim=(0, 1), keepdim=True).expand_as(wide)
    kept = mean.clone()
    for freq in key_freqs:
        keep = rows[(freqs == freq) | ((freqs == 0) & (block == "3x3"))]
        projector = keep.T @ keep
        part = torch.einsum("ij,jkc,kl->ilc", projector, wide, projector)
        kept += part - mean if block == "3x3" else part
    return kept


class RestrictedLoss(GroupMeasure):
    """``restricted_loss``: loss on held-out pairs with only the key frequencies of the logits left, nats.

    Causal unless ``key_freqs`` is given: frequencies come from this snapshot's pairs that are pooled. Where none rises
    above the null the mean logits remain, about ln(order).

    Args:
        task: The group task.
        pool: Pairs averaged over: ``heldout`` is free of stored training answers, ``all`` is the original's.
        mirror_free: Use only held-out pairs (a, b) whose mirror (b, a) is not trained on.
        block: Directions kept per frequency: ``sum`` cos and sin of (a op b), ``2x2`` or ``3x3`` whole blocks of the 2-D
            transform, which need every pair and ``pool="all"``.
        paper_compat: The published form: pool over all pairs and score all held-out ones, whatever ``pool`` and
            ``mirror_free`` say. Leaks training answers; for comparison only.
        key_freqs: Fixed frequencies, such as the final network's.

    Raises:
        ConfigError: Arguments contradict each other.
    """

    name: ClassVar[str] = "restricted_loss"
    names: ClassVar[Labels] = {
        "restricted_loss": Label(
            "restricted loss, held-out",
            NATS,
            log=True,
            section="progress",
            about="held-out loss of the key frequencies alone",
            chart=Chart("losses", "losses", place=1),
        ),
    }
    needs: ClassVar[frozenset[Need]] = frozenset({"outputs"})
    cost: ClassVar[Cost] = "forward"

    def __init__(
        self,
        task: CyclicGroupTask,
        *,
        pool: Pool = "heldout",
        mirror_free: bool = True,
        block: Block = "sum",
        paper_compat: bool = False,
        key_freqs: Sequence[int] | None = None,
    ) -> None:
        super().__init__(task)
        self.pool: Pool = "all" if paper_compat else pool
        self.mirror_free = mirror_free and not paper_compat
        self.block: Block = block
        self.fixed = checked_freqs(key_freqs, task)
        if self.pool not in get_args(Pool) or block not in get_args(Block):
            raise ConfigError(
                f"RestrictedLoss: `pool` is 'heldout' or 'all', `block` 'sum', '2x2' or '3x3', got {pool!r}, {block!r}."
            )
        if block != "sum" and self.pool != "all":
            raise ConfigError(f"RestrictedLoss: `block`={block!r} projects the table of all pairs: pass pool='all'.")

    def __call__(self, observation: Observation) -> Mapping[str, float]:
        """Compute the value; see `restricted_loss`."""
        table = pair_table(observation, self.task)
        scored = table.heldout(mirror_free=self.mirror_free)
        pooled = scored if self.pool == "heldout" else torch.ones_like(scored)
        table.require_labels(scored, "restricted_loss")
        if self.pool == "all":
            table.require_coverage(MINIMUM_COVERAGE if self.block == "sum" else 1.0)
        key_freqs = table.key_freqs(among=pooled) if self.fixed is None else self.fixed
        return {self.name: self.loss(table, pooled, scored, key_freqs).item()}

    def loss(
        self, table: PairTable, pooled: Bool[Tensor, " pair"], scored: Bool[Tensor, " pair"], key_freqs: Tensor
    ) -> Tensor:
        """Restricted loss of the scored pairs, in the chosen form."""
        labels, targets = table.label[scored], table.target[scored]
        if self.block == "sum":
            pooled_table = label_table(table.logits[pooled], table.label[pooled], order=table.order)
            return restricted_loss(pooled_table, labels, targets, key_freqs=key_freqs)
        cube = torch.empty(table.order, table.order, table.order, dtype=torch.float64)
        cube[table.first, table.second] = table.logits
        kept = block_logits(cube, key_freqs=key_freqs, block=self.block)
        rows = kept[table.first[scored], table.second[scored]]
        return -torch.log_softmax(rows, dim=1).gather(1, targets[:, None]).mean()


def checked_freqs(key_freqs: Sequence[int] | None, task: CyclicGroupTask) -> Int[Tensor, " freq"] | None:
    """Fixed key frequencies as a tensor, None where each snapshot finds its own.

    Raises:
        ConfigError: One does not exist in the group.
    """
    if key_freqs is None:
        return None
    if not all(isinstance(k, int) and 1 <= k <= task.order // 2 for k in key_freqs):
        raise ConfigError(f"`key_freqs` must be integers in 1 .. {task.order // 2}, got {list(key_freqs)}.")
    return torch.tensor(sorted(set(key_freqs)), dtype=torch.long)
