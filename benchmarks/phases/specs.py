# SPDX-License-Identifier: Apache-2.0
"""Which runs the pool consists of, and which part of it each belongs to.

What a run came to is computed from its metrics, not from anything here. The parts are fixed by seed, weight decay and task
alone; thresholds and coefficients come from the calibration part, the three others are looked at once. Runs of one network
have the same budget whatever becomes of them, so that a share of the budget is the same step in all.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from spec import Spec

Part = Literal["calibration", "unseen_seed", "unseen_weight_decay", "unseen_task"]
PARTS: tuple[Part, ...] = ("calibration", "unseen_seed", "unseen_weight_decay", "unseen_task")

PAIRS = Spec("add", 43, fraction=0.5, network="mlp", width=192, weight_decay=3.0, steps=8000)
TRANSFORMER = Spec("add", 31, fraction=0.6, weight_decay=3.0, steps=6000)
PERMUTATIONS = Spec("permutation", 5, fraction=0.3, split="ordered", batch=512, steps=8000)
DIGITS = Spec("digits", fraction=0.3, network="mlp", width=200, init=8.0, loss="mse", lr=1e-3, weight_decay=0.3, steps=8000)
PARITY = Spec("parity", 40, fraction=1.0, network="mlp", width=128, batch=32, lr=1e-3, weight_decay=0.1, steps=8000)

SEEDS = range(4)
UNSEEN_SEEDS = (3,)
UNSEEN_DECAYS = (0.5, 2.0, 5.0)
UNSEEN_TASKS = ("permutation", "quadratic")


def part_of(spec: Spec) -> Part:
    """The part a run belongs to; one that is unseen in several ways counts for the rarest, task before decay before seed."""
    if spec.task in UNSEEN_TASKS:
        return "unseen_task"
    if spec.weight_decay in UNSEEN_DECAYS:
        return "unseen_weight_decay"
    return "unseen_seed" if spec.seed in UNSEEN_SEEDS else "calibration"


def all_specs() -> list[Spec]:
    """Every run, each once; all kinds of a seed before the next seed, so that a part of the pool is mixed as well."""
    return [spec for seed in SEEDS for kind in (generalizing, shuffled, without_generalization) for spec in kind(seed)]


def generalizing(seed: int) -> Iterator[Spec]:
    """Tasks with a rule, and enough examples to find it."""
    for task, fraction in (("add", 0.5), ("sub", 0.6), ("mul", 0.6)):
        for decay in (1.0, 3.0, 5.0):
            yield replace(PAIRS, task=task, fraction=fraction, weight_decay=decay, seed=seed)
    yield replace(PAIRS, size=(31, 53, 67, 23)[seed], fraction=0.6, seed=seed)
    yield replace(PAIRS, split="ordered", fraction=0.6, seed=seed)
    yield replace(PAIRS, batch=256, fraction=0.6, seed=seed)
    yield replace(PAIRS, task="sub", width=128, fraction=0.6, weight_decay=2.0, seed=seed)
    for task, decay in (("add", 1.0), ("sub", 3.0), ("mul", 2.0)):
        yield replace(TRANSFORMER, task=task, weight_decay=decay, seed=seed)
    yield replace(DIGITS, seed=seed)
    yield replace(DIGITS, weight_decay=0.5, seed=seed)
    yield replace(PERMUTATIONS, seed=seed)
    yield replace(PERMUTATIONS, size=4, fraction=0.6, network="mlp", width=192, weight_decay=3.0, batch=None, seed=seed)
    yield replace(PAIRS, task="quadratic", fraction=0.7, seed=seed)


def shuffled(seed: int) -> Iterator[Spec]:
    """Nothing to generalize: the answers are permuted."""
    for decay in (0.0, 0.5, 1.0, 3.0):
        yield replace(PAIRS, shuffled=True, weight_decay=decay, seed=seed)
        yield replace(TRANSFORMER, shuffled=True, weight_decay=decay, seed=seed)
        yield replace(DIGITS, shuffled=True, weight_decay=decay, seed=seed)
    for decay in (0.0, 1.0, 3.0):
        yield replace(PERMUTATIONS, size=4, batch=None, shuffled=True, weight_decay=decay, seed=seed)
    yield replace(PAIRS, task="sub", batch=256, shuffled=True, weight_decay=2.0, seed=seed)
    yield replace(PAIRS, task="quadratic", shuffled=True, seed=seed)


def without_generalization(seed: int) -> Iterator[Spec]:
    """Too few examples, no weight decay, too little training, too large steps; and generalization at once, or lost again."""
    yield replace(PAIRS, fraction=0.15, seed=seed)
    yield replace(PAIRS, task="mul", fraction=0.3, weight_decay=0.0, seed=seed)
    yield replace(PAIRS, task="quadratic", fraction=0.3, seed=seed)
    yield replace(PAIRS, lr=1e-5, seed=seed)
    yield replace(PAIRS, lr=3.0, weight_decay=0.0, seed=seed)
    yield replace(PAIRS, fraction=0.85, seed=seed)
    yield replace(DIGITS, init=1.0, weight_decay=0.1, seed=seed)
    yield replace(PAIRS, task="sub", fraction=0.7, late_lr=0.1, seed=seed)
    yield replace(PARITY, seed=seed)
