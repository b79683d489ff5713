# SPDX-License-Identifier: Apache-2.0
"""The data of every task: all questions with their answers, and which of them are trained on."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from spec import Spec
from torch import Tensor

from lightning_interp.demo.data import SPLITS, modular_addition_table

PARITY_BITS = 3
"""Bits that decide the sparse parity."""
PARITY_HELDOUT = 1000
Pairs = Callable[[Tensor, Tensor, int], Tensor]

ON_PAIRS: dict[str, Pairs] = {
    "add": lambda a, b, p: (a + b) % p,
    "sub": lambda a, b, p: (a - b) % p,
    "mul": lambda a, b, p: (a * b) % p,
    "quadratic": lambda a, b, p: (a * a + a * b + b * b) % p,
    "cubic": lambda a, b, p: (a * a * a + a * b) % p,
    "squares": lambda a, b, p: (a * a + b * b) % p,
}
"""Answers to pairs of numbers modulo p, by name."""


@dataclass(frozen=True)
class Data:
    """One data set, split.

    Attributes:
        inputs: Tokens [example, slot] or numbers [example, feature].
        answers: Class of each example.
        trained: True for the examples to train on.
        classes: Number of classes.
        tokens: Number of tokens, 0 where inputs are numbers.
        shuffled: Share of the answers that differ from the task's own: computed, not declared.
    """

    inputs: Tensor
    answers: Tensor
    trained: Tensor
    classes: int
    tokens: int
    shuffled: float


def make_data(spec: Spec) -> Data:
    """Data of a run. Draws from generators of its own."""
    if spec.task == "digits":
        return _digits(spec)
    if spec.task == "parity":
        return _parity(spec)
    if spec.task == "permutation":
        inputs, answers = _permutations(spec.size)
        classes = tokens = int(answers.max()) + 1
    else:
        inputs, answers = _pairs(spec)
        classes = tokens = spec.size
    trained = _split(inputs, spec)
    equals = torch.full((len(inputs), 1), tokens)
    return _shuffled(Data(torch.cat([inputs, equals], 1), answers, trained, classes, tokens + 1, 0.0), spec)


def _pairs(spec: Spec) -> tuple[Tensor, Tensor]:
    p, (tokens, _) = spec.size, modular_addition_table(spec.size)
    a, b = tokens[:, 0], tokens[:, 1]
    if spec.task == "div":
        inverse = torch.tensor([0, *(pow(x, -1, p) for x in range(1, p))])
        a, b = a[b > 0], b[b > 0]
        return torch.stack([a, b], 1), (a * inverse[b]) % p
    return torch.stack([a, b], 1), ON_PAIRS[spec.task](a, b, p)


def _permutations(items: int) -> tuple[Tensor, Tensor]:
    """All pairs of permutations with the number of their composition, first the right one."""
    every = np.array(list(itertools.permutations(range(items))))
    number = {tuple(one): index for index, one in enumerate(every.tolist())}
    composed = every[:, every].reshape(-1, items)  # [i, j] is every[i] after every[j]
    answers = torch.tensor([number[tuple(one)] for one in composed.tolist()])
    a, b = torch.meshgrid(torch.arange(len(every)), torch.arange(len(every)), indexing="ij")
    return torch.stack([a.flatten(), b.flatten()], 1), answers


def _split(inputs: Tensor, spec: Spec) -> Tensor:
    """Which pairs are trained on."""
    n = int(inputs.max()) + 1
    table = SPLITS[spec.split](n, fraction=spec.fraction, seed=spec.seed)
    return table[inputs[:, 0] * n + inputs[:, 1]]


def _parity(spec: Spec) -> Data:
    """Parity of three of many bits, given as -1 and 1."""
    draw = torch.Generator().manual_seed(spec.seed)
    train = round(1000 * spec.fraction)
    bits = torch.randint(2, (train + PARITY_HELDOUT, spec.size), generator=draw)
    answers = bits[:, :PARITY_BITS].sum(1) % 2
    return _shuffled(Data(2.0 * bits - 1.0, answers, torch.arange(len(bits)) < train, 2, 0, 0.0), spec)


def _digits(spec: Spec) -> Data:
    """scikit-learn's bundled images of 8 x 8 pixels, from 0 to 1."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(spec.seed))
    trained = torch.zeros(len(images), dtype=torch.bool)
    trained[order[: round(1000 * spec.fraction)]] = True
    inputs = torch.tensor(images, dtype=torch.float32) / 16.0
    return _shuffled(Data(inputs, torch.tensor(labels), trained, 10, 0, 0.0), spec)


def _shuffled(data: Data, spec: Spec) -> Data:
    """The same, with the answers permuted within either side where asked for: class counts stay."""
    if not spec.shuffled:
        return data
    draw, answers = torch.Generator().manual_seed(1000 + spec.seed), data.answers.clone()
    for side in (data.trained, ~data.trained):
        own = answers[side]
        answers[side] = own[torch.randperm(len(own), generator=draw)]
    wrong = float((answers != data.answers).double().mean())
    return Data(data.inputs, answers, data.trained, data.classes, data.tokens, wrong)
