# SPDX-License-Identifier: Apache-2.0
"""All pairs of the modular addition task, split so that no held-out pair has its mirror image in training."""

from collections.abc import Iterator, Sequence

import lightning as L
import torch
from torch.utils.data import DataLoader, Sampler, TensorDataset, default_collate

from lightning_interp.core.errors import ConfigError
from lightning_interp.core.shapes import Bool, Int, Tensor

TensorPair = tuple[Tensor, Tensor]


def modular_addition_table(p: int) -> tuple[Int[Tensor, "pair slot"], Int[Tensor, " pair"]]:
    """All p * p questions of addition modulo p with their answers.

    Returns:
        Tokens (a, b, "=") of every pair, row index a * p + b, where "=" is token p; and the class a + b mod p.
    """
    a, b = torch.meshgrid(torch.arange(p), torch.arange(p), indexing="ij")
    tokens = torch.stack([a.flatten(), b.flatten(), torch.full((p * p,), p)], dim=1)
    return tokens, (a + b).flatten() % p


def unordered_split(p: int, *, fraction: float, seed: int) -> Bool[Tensor, " pair"]:
    """Which pairs are trained on, with (a, b) and (b, a) always on the same side.

    Addition commutes, so a network that is symmetric in its inputs answers a held-out pair whose mirror image it
    was trained on. Splitting unordered pairs closes that leak. Draws from a generator of its own.

    Args:
        p: Modulus.
        fraction: Share of the unordered pairs to train on, between 0 and 1.
        seed: Seed of the draw.

    Returns:
        True for the training pairs, row index a * p + b.
    """
    order = torch.randperm(p * (p + 1) // 2, generator=torch.Generator().manual_seed(seed))
    chosen = order[: round(fraction * len(order))]
    rows, columns = torch.triu_indices(p, p)[:, chosen]
    table = torch.zeros(p, p, dtype=torch.bool)
    table[rows, columns] = True
    table[columns, rows] = True
    return table.flatten()


def ordered_split(p: int, *, fraction: float, seed: int) -> Bool[Tensor, " pair"]:
    """Which pairs are trained on, drawn pair by pair as in the paper: many held-out pairs have their mirror in training.

    Args:
        p: Modulus.
        fraction: Share of the pairs to train on, between 0 and 1.
        seed: Seed of the draw, from a generator of its own.

    Returns:
        True for the training pairs, row index a * p + b.
    """
    order = torch.randperm(p * p, generator=torch.Generator().manual_seed(seed))
    table = torch.zeros(p * p, dtype=torch.bool)
    table[order[: round(fraction * p * p)]] = True
    return table


SPLITS = {"unordered": unordered_split, "ordered": ordered_split}
"""How pairs are divided, by name."""


class PairDataset(TensorDataset):
    """A `TensorDataset` of (tokens, answer) which hands out a whole batch by one indexing operation.

    ``dataset[i]`` gives (tokens [3], answer []) as usual; a `DataLoader` asks for many examples at once through
    ``__getitems__``, which `collate_pairs` passes on as they are.
    """

    def __getitems__(self, indices: Sequence[int]) -> TensorPair:
        """The stacked examples: tokens [example, 3] and answers [example]."""
        index = torch.as_tensor(indices)
        return self.tensors[0][index], self.tensors[1][index]


def collate_pairs(examples: TensorPair | list[TensorPair]) -> TensorPair:
    """Batch of (tokens, answer) examples; a batch that is stacked already passes through."""
    if isinstance(examples, tuple):
        return examples
    tokens, answers = default_collate(examples)
    return tokens, answers


class FullBatchSampler(Sampler[int]):
    """Every index in order, over and over: with ``batch_size=size`` each optimizer step sees the whole data set.

    An epoch of many steps keeps Lightning's per-epoch work out of the training time.
    """

    def __init__(self, size: int, repeats: int) -> None:
        self.size = size
        self.repeats = repeats

    def __iter__(self) -> Iterator[int]:
        for _ in range(self.repeats):
            yield from range(self.size)

    def __len__(self) -> int:
        return self.size * self.repeats


class ModularAdditionData(L.LightningDataModule):
    """Addition modulo p: a full-batch training loader and a validation loader of all other pairs.

    Args:
        p: Modulus.
        fraction: Share of the pairs to train on.
        split: ``unordered`` keeps (a, b) and (b, a) on one side, ``ordered`` is the paper's draw, which does not.
        seed: Seed of the split. The global random streams are not used.
        steps_per_epoch: Optimizer steps per epoch, hence between two validations; each step sees all training pairs.
    """

    def __init__(
        self,
        p: int = 113,
        *,
        fraction: float = 0.3,
        split: str = "unordered",
        seed: int = 0,
        steps_per_epoch: int = 100,
    ) -> None:
        super().__init__()
        if split not in SPLITS:
            raise ConfigError(f"ModularAdditionData: `split` must be one of {', '.join(SPLITS)}, got {split!r}.")
        if not 0.0 < fraction < 1.0:
            raise ConfigError(f"ModularAdditionData: `fraction` must lie between 0 and 1, got {fraction}.")
        self.steps_per_epoch = steps_per_epoch
        tokens, answers = modular_addition_table(p)
        is_train = SPLITS[split](p, fraction=fraction, seed=seed)
        self.train_set = PairDataset(tokens[is_train], answers[is_train])
        self.heldout_set = PairDataset(tokens[~is_train], answers[~is_train])

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """All training pairs in every batch, `steps_per_epoch` batches an epoch."""
        size = len(self.train_set)
        sampler = FullBatchSampler(size, self.steps_per_epoch)
        return DataLoader(self.train_set, batch_size=size, sampler=sampler, collate_fn=collate_pairs)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """All held-out pairs in one batch."""
        return DataLoader(self.heldout_set, batch_size=len(self.heldout_set), collate_fn=collate_pairs)
