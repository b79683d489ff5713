# SPDX-License-Identifier: Apache-2.0
"""Synthetic histories of the kinds of run the detector must tell apart. Smooth by default, with noise on request."""

import csv
import math
import random
from pathlib import Path

REFERENCE = Path(__file__).parents[1] / "data" / "modular_addition_p113.csv"
COLUMNS = {
    "train_loss": "train_loss",
    "test_loss": "heldout_loss",
    "train_acc": "train_accuracy",
    "test_acc": "heldout_accuracy",
    "sum_sq": "weight_norm",
    "excluded_loss": "excluded_loss",
    "gini_WE": "gini_embedding",
    "gini_WL": "gini_readout",
}
CHANCE = math.log(100)


def reference(names=None, *, every=1, jitter=0.0, seed=0):
    """The recorded run as a table, optionally only some series, every n-th row, each value times 1 + jitter * gauss."""
    rows = list(csv.DictReader(REFERENCE.read_text().splitlines()))[::every]
    table = {"step": [int(row["step"]) for row in rows]}
    for column, name in COLUMNS.items():
        if names is None or name in names:
            values = [float(row[column]) for row in rows]
            table[name] = [math.sqrt(value) for value in values] if column == "sum_sq" else values
    return noisy(table, jitter, seed)


def noisy(table, jitter, seed=0):
    """Every value times 1 + jitter * gauss, accuracies no more than 1."""
    rng = random.Random(seed)
    if not jitter:
        return table
    result = {"step": table["step"]}
    for name, values in table.items():
        if name != "step":
            moved = [value * (1 + rng.gauss(0, jitter)) for value in values]
            result[name] = [min(value, 1.0) for value in moved] if name.endswith("accuracy") else moved
    return result


def log_steps(last, per_efold=25):
    """0, 1, 2, ... then spaced evenly in log step, as the default snapshot schedule does."""
    steps = [0]
    while steps[-1] < last:
        steps.append(max(steps[-1] + 1, int(steps[-1] * math.exp(1 / per_efold))))
    return steps


def fall(step, at, width=0.3):
    """1 before `at`, 0 after, smooth in log step."""
    return 1 / (1 + math.exp((math.log(step + 1) - math.log(at + 1)) / width))


def build(steps, **curves):
    """A table from one function of the step for each name."""
    return {"step": list(steps)} | {name: [curve(step) for step in steps] for name, curve in curves.items()}


def train_curve(at):
    return lambda step: 1e-6 + CHANCE * fall(step, at, 0.1)


def overfit(step, at, height):
    """Held-out loss that rises from chance to `height` as the training set is memorized at `at`."""
    return CHANCE + (height - CHANCE) * (1 - fall(step, at, 0.3))


def grokking(last=20_000, *, mem=150, grok=6000, steps=None, accuracy=True):
    curves = {
        "train_loss": train_curve(mem),
        "heldout_loss": lambda step: overfit(step, mem, 15.0) * fall(step, grok, 0.07) + 1e-4,
    }
    if accuracy:
        curves["train_accuracy"] = lambda step: 1 - 0.99 * fall(step, mem * 0.8, 0.05)
        curves["heldout_accuracy"] = lambda step: 0.01 + 0.99 * (1 - fall(step, grok * 1.3, 0.03))
    return build(steps or log_steps(last), **curves)


def random_labels(last=20_000, *, weight_decay=False):
    """Memorization of labels that mean nothing; with weight decay the held-out loss falls again without any learning."""
    shrink = (lambda step: 1 - 0.3 * (1 - fall(step, 5000, 0.3))) if weight_decay else (lambda step: 1.0)
    return build(
        log_steps(last),
        train_loss=train_curve(150),
        heldout_loss=lambda step: overfit(step, 150, 15.0) * shrink(step),
        train_accuracy=lambda step: 1 - 0.99 * fall(step, 120, 0.05),
        heldout_accuracy=lambda step: 0.01 + 0.0003 * math.sin(step),
        weight_norm=lambda step: 60 * shrink(step),
        heldout_percentile_z=lambda step: 0.7 * math.sin(step),
    )


def early(last=5000):
    return build(
        log_steps(last),
        train_loss=train_curve(300),
        heldout_loss=train_curve(330),
        train_accuracy=lambda step: 1 - 0.99 * fall(step, 260, 0.05),
        heldout_accuracy=lambda step: 1 - 0.99 * fall(step, 290, 0.05),
    )


def collapsing(last=60_000):
    """Grokking, then the loss of it from step 30,000 on."""
    table = grokking(last)
    for index, step in enumerate(table["step"]):
        lost = 1 - fall(step, 30_000, 0.02)
        table["heldout_accuracy"][index] -= 0.6 * lost
        table["heldout_loss"][index] += 6 * lost
    return table


def underfit(last=5000):
    return build(
        log_steps(last),
        train_loss=lambda step: 1 + (CHANCE - 1) * fall(step, 300),
        heldout_loss=lambda step: 1.1 + (CHANCE - 1.1) * fall(step, 300),
        train_accuracy=lambda step: 0.7 - 0.69 * fall(step, 300),
    )


def diverging(last=3000):
    """Losses that never fall far and end at ten times their start."""
    return build(
        log_steps(last),
        train_loss=lambda step: 4.0 + 50 * (1 - fall(step, 500)),
        heldout_loss=lambda step: 4.1 + 50 * (1 - fall(step, 500)),
    )


def forgetting(last=3000):
    """Learned, and at step 2,000 both losses are back over their start: another task is trained on."""
    return build(
        log_steps(last),
        train_loss=lambda step: CHANCE * fall(step, 100) + 0.03 + (20 if step > 2000 else 0),
        heldout_loss=lambda step: CHANCE * fall(step, 100) + 0.1 + (20 if step > 2000 else 0),
    )


def partial(last=20_000):
    """Held-out loss that leaves its peak but stays far over chance."""
    return build(
        log_steps(last),
        train_loss=train_curve(150),
        heldout_loss=lambda step: overfit(step, 150, 15.0) * (1 - 0.4 * (1 - fall(step, 4000, 0.2))),
        train_accuracy=lambda step: 1 - 0.99 * fall(step, 120, 0.05),
        heldout_accuracy=lambda step: 0.01 + 0.3 * (1 - fall(step, 4000, 0.2)),
    )


def phase_names(timeline):
    return [phase.name for phase in timeline.phases]


def boundary(timeline, name):
    """Start of the first phase of a name, None where there is none."""
    return next((phase.start for phase in timeline.phases if phase.name == name), None)
