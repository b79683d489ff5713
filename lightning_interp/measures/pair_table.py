# SPDX-License-Identifier: Apache-2.0
"""Logits of all probed pairs of a cyclic-group task, in exponents: the common ground of the Fourier losses."""

from dataclasses import dataclass

import torch

from lightning_interp.core.errors import MeasureSkipped
from lightning_interp.core.records import Observation, Split
from lightning_interp.core.shapes import Bool, Float64, Int, Tensor
from lightning_interp.measures.cyclic_group import (
    CyclicGroupTask,
    exponents_by_token,
    pair_exponents,
    tokens_by_exponent,
)
from lightning_interp.measures.fourier import MISSING_SHARE, select_key_freqs
from lightning_interp.measures.preconditions import require_classes

MINIMUM_COVERAGE = 0.95
"""Share of all pairs the probe must hold for a projection over all of them to mean what the paper's does."""


@dataclass(frozen=True)
class PairTable:
    """One row per distinct pair of the probe. Operands, labels and targets are exponents in 0 .. order - 1.

    Attributes:
        logits: Scores of the order classes, in exponent order; classes outside the group ('=', 0 in ``mul``) dropped.
        first: Left operand.
        second: Right operand.
        label: Answer by the declared operation.
        target: Answer in the data.
        train: True for pairs of the training split; a pair in both splits counts as trained.
    """

    logits: Float64[Tensor, "pair class"]
    first: Int[Tensor, " pair"]
    second: Int[Tensor, " pair"]
    label: Int[Tensor, " pair"]
    target: Int[Tensor, " pair"]
    train: Bool[Tensor, " pair"]

    @property
    def order(self) -> int:
        """Number of group elements."""
        return self.logits.shape[1]

    @property
    def coverage(self) -> float:
        """Share of all order x order pairs that the probe holds, in [0, 1]."""
        return len(self.label) / self.order**2

    def heldout(self, *, mirror_free: bool) -> Bool[Tensor, " pair"]:
        """Pairs (a, b) outside the training split; with ``mirror_free`` those whose mirror (b, a) is outside, too."""
        trained = torch.zeros(self.order, self.order, dtype=torch.bool)
        trained[self.first[self.train], self.second[self.train]] = True
        return ~self.train & ~trained[self.second, self.first] if mirror_free else ~self.train

    def key_freqs(self, *, among: Bool[Tensor, " pair"]) -> Int[Tensor, " freq"]:
        """Key frequencies from the chosen pairs, see `select_key_freqs`.

        Raises:
            MeasureSkipped: Too many answers have no pair among them.
        """
        self.require_labels(among, "key frequencies")
        return select_key_freqs(self.logits[among], self.label[among], order=self.order)

    def require_labels(self, among: Bool[Tensor, " pair"], what: str) -> None:
        """Raise `MeasureSkipped` if more than a tenth of the answers have no pair among the chosen ones."""
        missing = int((torch.bincount(self.label[among], minlength=self.order) == 0).sum())
        if missing > MISSING_SHARE * self.order:
            raise MeasureSkipped(
                f"{what}: {missing} of {self.order} answers have no pair among the {int(among.sum())} usable ones "
                "(held out, mirror-free where asked)"
            )

    def require_coverage(self, share: float) -> None:
        """Raise `MeasureSkipped` unless the probe holds this share of all pairs."""
        if self.coverage < share:
            raise MeasureSkipped(f"needs {share:.0%} of all {self.order**2} pairs, the probe holds {self.coverage:.1%}")


def pair_table(observation: Observation, task: CyclicGroupTask) -> PairTable:
    """Assemble the table from the outputs of both splits of the probe.

    Raises:
        MeasureSkipped: Inputs, logits or targets are not those of the declared task; the message says in what.
    """
    splits: tuple[Split, ...] = ("train", "heldout")
    parts = [split_table(observation, task, split) for split in splits if observation.has_split(split)]
    if not any(len(part.label) for part in parts):
        raise MeasureSkipped("the probe has no pairs of the task")
    whole = PairTable(**{name: torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0])})
    right = (whole.label == whole.target).double().mean().item()
    if right < 0.5:
        raise MeasureSkipped(
            f"only {right:.0%} of the probe's targets are a {task.op} b mod {task.p}: check p, op and operands of the task"
        )
    return distinct(whole)


def split_table(observation: Observation, task: CyclicGroupTask, split: Split) -> PairTable:
    """Rows of one split whose operands and target belong to the group."""
    logits, targets = require_classes(observation, split)
    operands = operand_tokens(observation, task, split, rows=len(logits))
    used = torch.cat([operands, targets.long()[:, None]], dim=1)
    if used.min() < 0 or used.max() >= task.p or logits.shape[1] < task.p:
        raise MeasureSkipped(
            f"operands, targets and classes must cover 0 .. {task.p - 1}: operands and targets lie in {int(used.min())} .. "
            f"{int(used.max())}, there are {logits.shape[1]} classes"
        )
    exponents = exponents_by_token(task.p, task.op)[used]
    keep = (exponents >= 0).all(dim=1)
    first, second, target = exponents[keep].T
    scores = logits[keep][:, tokens_by_exponent(task.p, task.op)].double()
    label = pair_exponents(first, second, order=task.order, op=task.op)
    return PairTable(scores, first, second, label, target, torch.full_like(keep[keep], split == "train"))


def operand_tokens(
    observation: Observation, task: CyclicGroupTask, split: Split, *, rows: int
) -> Int[Tensor, "example operand"]:
    """Columns of the inputs that hold the operands, one row for each of ``rows`` rows of logits."""
    tokens = observation.inputs(split)
    fits = tokens.ndim == 2 and len(tokens) == rows and not tokens.is_floating_point()
    if not fits or tokens.shape[1] <= max(task.operands):
        raise MeasureSkipped(
            f"the task reads columns {task.operands} of token inputs, the {split} inputs are {tuple(tokens.shape)} of "
            f"{tokens.dtype} for {rows} rows of logits"
        )
    return tokens[:, list(task.operands)].long()


def distinct(table: PairTable) -> PairTable:
    """The table with the first row of each pair only, so training rows win over held-out ones."""
    pairs, inverse = torch.unique(table.first * table.order + table.second, return_inverse=True)
    rows = torch.arange(len(inverse))
    if len(pairs) == len(inverse):
        return table
    keep = torch.full_like(pairs, len(inverse)).scatter_reduce(0, inverse, rows, "amin")
    return PairTable(**{name: column[keep] for name, column in vars(table).items()})
