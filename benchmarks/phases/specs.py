# SPDX-License-Identifier: Apache-2.0
"""Which runs the pool consists of, and which part of it each belongs to.

What a run came to is computed from its metrics, not from anything here. The parts are fixed by seed, weight decay and task
alone; thresholds and coefficients come from the calibration part, the three others are looked at once. Runs of one network
have the same budget whatever becomes of them, so that a share of the budget is the same step in all; and most runs of a rule
have a twin of the same network, weight decay and seed with permuted answers, so that weight decay tells nothing.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from spec import Spec

Part = Literal["calibration", "unseen_seed", "unseen_weight_decay", "unseen_task", "later_task", "later_seed"]

PAIRS = Spec("add", 43, fraction=0.6, network="mlp", width=192, weight_decay=3.0, steps=5000)
TRANSFORMER = Spec("add", 37, fraction=0.7, weight_decay=3.0, steps=5000)
PERMUTATIONS = Spec("permutation", 4, fraction=0.75, network="mlp", width=192, weight_decay=3.0, steps=6000)
LARGE_PERMUTATIONS = Spec("permutation", 5, fraction=0.3, split="ordered", batch=512, steps=4000)
DIGITS = Spec("digits", fraction=0.3, network="mlp", width=200, init=8.0, loss="mse", lr=1e-3, weight_decay=0.3, steps=6000)
PARITY = Spec("parity", 40, fraction=1.0, network="mlp", width=128, batch=32, lr=1e-3, weight_decay=1.0, steps=5000)

CALIBRATION_SEEDS, UNSEEN_SEEDS = (0, 1), (2, 3)
DECAY_SEEDS, TASK_SEEDS = (10, 11), (20, 21)
SIZES = {0: 31, 1: 53, 2: 67, 3: 23, 40: 29}
UNSEEN_DECAYS = (0.5, 2.0, 5.0)
"""Two between the ones of the calibration, one over all of them."""
UNSEEN_TASKS = ("mul", "permutation", "quadratic")
LATER_TASKS, LATER_SEEDS = ("div", "cubic", "squares"), (30, 31)
"""Chosen after every threshold was frozen and the other parts were scored."""
LATER_SEED = 40
"""Of runs recorded for a second look, after the rules for losses alone were mended."""


def part_of(spec: Spec) -> Part:
    """The part a run belongs to."""
    if spec.task in LATER_TASKS:
        return "later_task"
    if spec.seed == LATER_SEED:
        return "later_seed"
    if spec.task in UNSEEN_TASKS:
        return "unseen_task"
    if spec.weight_decay in UNSEEN_DECAYS:
        return "unseen_weight_decay"
    return "calibration" if spec.seed in CALIBRATION_SEEDS else "unseen_seed"


def all_specs() -> list[Spec]:
    """Every run, each once; one seed of every part before the next, so that a pool broken off is mixed as well."""
    specs: list[Spec] = []
    for seen, unseen, decays, tasks in zip(CALIBRATION_SEEDS, UNSEEN_SEEDS, DECAY_SEEDS, TASK_SEEDS, strict=True):
        for seed in (seen, unseen):
            specs += [*with_twins(rules(seed)), *alone(seed)]
        specs += with_twins(other_decays(decays))
        specs += [*with_twins(other_tasks(tasks)), *hard_tasks(tasks)]
    specs += with_twins(later_tasks())
    specs += [*with_twins(rules(LATER_SEED)), *alone(LATER_SEED)]
    return list(dict.fromkeys(specs))


def with_twins(specs: Iterator[Spec]) -> Iterator[Spec]:
    """Each run followed by the same with permuted answers."""
    for spec in specs:
        yield spec
        yield replace(spec, shuffled=True)


def rules(seed: int) -> Iterator[Spec]:
    """Tasks with a rule, and enough examples to find it."""
    for task in ("add", "sub"):
        for decay in (1.0, 3.0):
            yield replace(PAIRS, task=task, weight_decay=decay, seed=seed)
    yield replace(PAIRS, size=SIZES[seed], weight_decay=1.0, seed=seed)
    yield replace(PAIRS, split="ordered", width=128, weight_decay=1.0, seed=seed)
    yield replace(PAIRS, task="sub", batch=256, weight_decay=1.0, seed=seed)
    yield replace(TRANSFORMER, seed=seed)
    yield replace(TRANSFORMER, task="sub", weight_decay=1.0, seed=seed)
    yield replace(DIGITS, seed=seed)
    yield replace(DIGITS, weight_decay=1.0, seed=seed)


def other_decays(seed: int) -> Iterator[Spec]:
    """Weight decays that the calibration has not seen."""
    for decay in UNSEEN_DECAYS:
        yield replace(PAIRS, weight_decay=decay, seed=seed)
    for decay in UNSEEN_DECAYS[:2]:
        yield replace(PAIRS, task="sub", weight_decay=decay, seed=seed)
        yield replace(TRANSFORMER, task="sub", weight_decay=decay, seed=seed)
    yield replace(DIGITS, weight_decay=0.5, seed=seed)


def other_tasks(seed: int) -> Iterator[Spec]:
    """Tasks that the calibration has not seen."""
    for decay in (1.0, 3.0):
        yield replace(PAIRS, task="mul", weight_decay=decay, seed=seed)
        yield replace(PERMUTATIONS, weight_decay=decay, seed=seed)
    yield replace(TRANSFORMER, task="mul", seed=seed)
    yield replace(PAIRS, task="quadratic", fraction=0.85, weight_decay=1.0, seed=seed)
    yield replace(LARGE_PERMUTATIONS, seed=seed)


def later_tasks() -> Iterator[Spec]:
    """Three more tasks."""
    for seed in LATER_SEEDS:
        for task in LATER_TASKS:
            yield replace(PAIRS, task=task, fraction=0.7, weight_decay=1.0, seed=seed)


def hard_tasks(seed: int) -> Iterator[Spec]:
    """Unseen tasks with too few examples."""
    yield replace(PAIRS, task="quadratic", fraction=0.4, weight_decay=1.0, seed=seed)
    yield replace(PERMUTATIONS, fraction=0.3, weight_decay=1.0, seed=seed)


def alone(seed: int) -> Iterator[Spec]:
    """Runs without a twin: no weight decay, too few examples, wrong step sizes, generalization at once or lost again."""
    for spec in (PAIRS, TRANSFORMER, DIGITS):
        yield replace(spec, shuffled=True, weight_decay=0.0, seed=seed)
    yield replace(PAIRS, fraction=0.2, seed=seed)
    yield replace(PAIRS, fraction=0.4, weight_decay=0.0, seed=seed)
    yield replace(PAIRS, lr=1e-5, seed=seed)
    yield replace(DIGITS, optimizer="sgd", lr=1.0, weight_decay=0.0, seed=seed)
    yield replace(PAIRS, fraction=0.9, seed=seed)
    yield replace(DIGITS, init=1.0, seed=seed)
    yield replace(PAIRS, task="sub", weight_decay=1.0, late_decay=60.0, seed=seed)
    yield replace(PARITY, seed=seed)
