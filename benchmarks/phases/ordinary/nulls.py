# SPDX-License-Identifier: Apache-2.0
"""What the best predictor that ignores its input would get, in closed form from the held-out answers."""

import torch
from ordinary.spec import Loss
from torch import Tensor
from torch.nn.functional import one_hot


def null_loss(answers: Tensor, classes: int | None, loss: Loss) -> float:
    """Held-out loss of the best constant answer.

    Args:
        answers: Held-out answers, [example, ...].
        classes: Number of classes, None where answers are none.
        loss: What is minimized.

    Returns:
        Entropy in nats of the answers' shares for cross-entropies (for bits the mean of theirs), mean variance for squared
        errors.
    """
    if loss == "cross_entropy":
        return _entropy(_shares(answers, classes))
    if loss == "bce":
        rates = answers.double().mean(0)
        return sum(_entropy(torch.stack([rate, 1 - rate])) for rate in rates) / len(rates)
    numbers = one_hot(answers, int(classes or 0)) if loss == "mse_one_hot" else answers
    return float(numbers.double().flatten(1).var(0, unbiased=False).mean())


def null_error(answers: Tensor, classes: int | None) -> float | None:
    """Error of the commonest class, or None where answers are no classes."""
    return None if classes is None else 1 - float(_shares(answers, classes).max())


def _shares(answers: Tensor, classes: int | None) -> Tensor:
    counts = torch.bincount(answers.flatten(), minlength=classes or 0).double()
    return counts / counts.sum()


def _entropy(shares: Tensor) -> float:
    return -float(torch.special.xlogy(shares, shares).sum())
