# SPDX-License-Identifier: Apache-2.0
"""Histories of what people train: no grokking in them. Losses as multiples of any unit."""

import math
import random

from phase_histories import build, fall, log_steps

STEPS = log_steps(5000)


def decay(step, start, end, at):
    """From `start` to `end`, smooth in log step, around step `at`."""
    return end + (start - end) * fall(step, at)


def recognizer(top=0.987, train=0.996):
    """A classifier of ten classes that generalizes as it fits."""
    return build(
        STEPS,
        train_loss=lambda s: decay(s, 2.3, 0.01, 60),
        heldout_loss=lambda s: decay(s, 2.3, 0.05, 70),
        train_accuracy=lambda s: train - (train - 0.1) * fall(s, 60),
        heldout_accuracy=lambda s: top - (top - 0.1) * fall(s, 70),
    )


def slow_learner():
    """Held-out accuracy .91 when the training set is fitted, .987 much later: no grokking."""
    table = recognizer()
    table["heldout_accuracy"] = [0.1 + 0.81 * (1 - fall(s, 50)) + 0.077 * (1 - fall(s, 1500)) for s in STEPS]
    return table


def overfit(unit=1.0, *, accuracies=False):
    """Held-out loss that falls to a third of its start and rises over it, while the train loss falls on."""
    curves = {
        "train_loss": lambda s: unit * decay(s, 2.3, 0.002, 150),
        "heldout_loss": lambda s: unit * (0.8 + 1.5 * fall(s, 60) + 1.7 * (1 - fall(s, 800))),
    }
    if accuracies:
        curves["train_accuracy"] = lambda s: 0.1 + 0.9 * (1 - fall(s, 100))
        curves["heldout_accuracy"] = lambda s: 0.1 + 0.7 * (1 - fall(s, 60))
    return build(STEPS, **curves)


def noise_regression(unit=1.0):
    """A regression on targets of pure noise: the training set is fitted, the held-out error grows over their variance."""
    return build(
        STEPS,
        train_loss=lambda s: unit * decay(s, 1.05, 0.001, 300),
        heldout_loss=lambda s: unit * (1.02 + 0.9 * (1 - fall(s, 400))),
    )


def mean_image():
    """An autoencoder that comes to predict the mean image, and no more."""
    return build(STEPS, train_loss=lambda s: decay(s, 0.23, 0.067, 40), heldout_loss=lambda s: decay(s, 0.23, 0.0675, 40))


def rare_class():
    """99:1 with a rule that is learned: a constant answer is right 99 times of 100."""
    return build(
        STEPS,
        train_loss=lambda s: decay(s, 0.7, 0.0005, 80),
        heldout_loss=lambda s: decay(s, 0.7, 0.003, 90),
        train_accuracy=lambda s: 0.99 + 0.01 * (1 - fall(s, 100)),
        heldout_accuracy=lambda s: 0.99 + 0.009 * (1 - fall(s, 110)),
    )


def rare_class_by_lot():
    """99:1 with labels by lot: the training set is learned by heart, held-out answers are not."""
    return build(
        STEPS,
        train_loss=lambda s: decay(s, 0.7, 0.0001, 200),
        heldout_loss=lambda s: decay(s, 0.7, 0.056, 20) + 0.1 * (1 - fall(s, 300)),
        train_accuracy=lambda s: 0.99 + 0.01 * (1 - fall(s, 250)),
        heldout_accuracy=lambda s: 0.99 - 0.005 * (1 - fall(s, 300)),
    )


def annealed(factor=4.0):
    """A loss whose penalty is switched on slowly: it rises while accuracy stays."""
    table = recognizer()
    for name in ("train_loss", "heldout_loss"):
        table[name] = [v + 2.3 * factor * (1 - fall(s, 2000)) for s, v in zip(STEPS, table[name], strict=True)]
    return table


def sawtooth(epochs=4, length=100, seed=0):
    """Fine-tuning on the batch's own loss: it falls at every new pass over the data and stands still in between."""
    draw, steps = random.Random(seed), list(range(1, epochs * length, 2))
    train = [1.2 * 0.45 ** (s // length) + 0.01 * draw.random() for s in steps]
    heldout = [(length * k, 0.9 + 0.08 * k) for k in range(1, epochs + 1)]
    return {
        "train_loss": (steps, train),
        "heldout_loss": ([s for s, _ in heldout], [v for _, v in heldout]),
    }


def scaled(table, unit):
    """The same with losses in another unit."""
    return {name: [value * unit for value in column] if name.endswith("_loss") else column for name, column in table.items()}


def ln(classes):
    """Loss of an untrained classifier, nats."""
    return math.log(classes)
