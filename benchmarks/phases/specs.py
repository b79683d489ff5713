# SPDX-License-Identifier: Apache-2.0
"""Which runs the pool consists of. What they came to is computed from their metrics, not from anything here."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

from spec import Spec

PAIRS = Spec("add", 43, fraction=0.5, network="mlp", width=192, weight_decay=3.0, steps=10_000)
"""Groks within the budget on one core in less than a minute."""
TRANSFORMER = Spec("add", 43, fraction=0.6, lr=1e-3, weight_decay=3.0, steps=8000)
PERMUTATIONS = Spec("permutation", 5, fraction=0.3, split="ordered", batch=512, steps=8000)
DIGITS = Spec("digits", fraction=0.3, network="mlp", width=200, init=8.0, loss="mse", lr=1e-3, weight_decay=0.3, steps=8000)
PARITY = Spec("parity", 40, fraction=1.0, network="mlp", width=128, batch=32, lr=1e-3, weight_decay=0.1, steps=10_000)
SEEDS = range(4)


def all_specs() -> list[Spec]:
    """Every run, each once."""
    return list(dict.fromkeys(itertools.chain(generalizing(), shuffled(), without_generalization())))


def generalizing() -> Iterator[Spec]:
    """Tasks with a rule, and enough examples to find it."""
    for seed in SEEDS:
        for task, decay in itertools.product(("add", "sub", "mul"), (1.0, 3.0, 5.0)):
            yield replace(PAIRS, task=task, weight_decay=decay, seed=seed)
        yield replace(PAIRS, size=31 + 6 * seed, fraction=0.6, seed=seed)
        yield replace(PAIRS, split="ordered", fraction=0.4, weight_decay=1.0, seed=seed)
        yield replace(PAIRS, batch=256, weight_decay=2.0, seed=seed)
        yield replace(TRANSFORMER, seed=seed)
        yield replace(PERMUTATIONS, seed=seed)
        yield replace(DIGITS, seed=seed)


def shuffled() -> Iterator[Spec]:
    """Nothing to generalize: the answers are permuted."""
    for seed, decay in itertools.product(SEEDS, (0.0, 0.3, 1.0, 3.0)):
        yield replace(PAIRS, shuffled=True, weight_decay=decay, steps=5000, seed=seed)
        yield replace(TRANSFORMER, shuffled=True, weight_decay=decay, steps=5000, seed=seed)
        yield replace(PERMUTATIONS, size=4, batch=None, shuffled=True, weight_decay=decay, steps=5000, seed=seed)
        yield replace(DIGITS, shuffled=True, weight_decay=decay, steps=5000, seed=seed)


def without_generalization() -> Iterator[Spec]:
    """Too few examples, no weight decay, too little training, too large steps; and generalization at once, or lost again."""
    for seed in SEEDS:
        yield replace(PAIRS, fraction=0.15, seed=seed)
        yield replace(TRANSFORMER, fraction=0.3, weight_decay=1.0, seed=seed)
        yield replace(PAIRS, fraction=0.3, weight_decay=0.0, seed=seed)
        yield replace(PAIRS, lr=1e-5, steps=3000, seed=seed)
        yield replace(PAIRS, lr=3.0, weight_decay=0.0, steps=2000, seed=seed)
        yield replace(PAIRS, fraction=0.85, seed=seed)
        yield replace(DIGITS, init=1.0, weight_decay=0.1, steps=2000, seed=seed)
        yield replace(PAIRS, late_lr=0.1, seed=seed)
        yield replace(PARITY, seed=seed)
