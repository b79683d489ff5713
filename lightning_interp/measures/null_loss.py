# SPDX-License-Identifier: Apache-2.0
"""Loss and error of the best predictor that ignores its input, for each kind of answer."""

import torch

from lightning_interp.core.null_predictor import NullPredictor
from lightning_interp.core.shapes import Float, Float64, Int, Shaped, Tensor
from lightning_interp.measures.losses import CHUNK_ELEMENTS, check_targets

CLASS_SHARES = "shares of the held-out classes"


def null_of_classes(targets: Int[Tensor, " example"]) -> NullPredictor:
    """Cross-entropy and error of the constant prediction that knows how often each held-out class occurs.

    The loss is the entropy of the classes under their own shares, in nats; the error 1 minus the largest share.

    Example:
        >>> null_of_classes(torch.tensor([0, 0, 0, 1])).error
        0.25
    """
    shares = _shares(targets)
    entropy = torch.special.entr(shares).sum().item()
    return NullPredictor(entropy, 1 - shares.max().item(), CLASS_SHARES, heldout_examples=len(targets))


def null_of_squared_error(train: Shaped[Tensor, "*trained"], heldout: Shaped[Tensor, "*heldout"]) -> NullPredictor:
    """Mean squared error of the training examples' mean answer, mean over outputs, in the squared unit of the answers.

    Args:
        train: Answers of training examples, [example, ...].
        heldout: Answers of held-out examples.
    """
    errors = (heldout.double() - train.double().mean(dim=0)).square()
    source = "variance of the held-out targets about the train mean"
    return NullPredictor(errors.mean().item(), None, source, heldout_examples=len(heldout))


def null_of_binary_labels(train: Shaped[Tensor, "*trained"], heldout: Shaped[Tensor, "*heldout"]) -> NullPredictor:
    """Binary cross-entropy, mean over labels, nats, of the rate each label has in training.

    Rates are (k + 1/2) / (n + 1), so that a label the training examples never show costs much and not everything.

    Args:
        train: 0 or 1 for each label of training examples, [example, ...].
        heldout: The same of held-out examples.
    """
    rates = (train.double().sum(dim=0) + 0.5) / (len(train) + 1)
    answers = heldout.double()
    losses = -(torch.xlogy(answers, rates) + torch.xlogy(1 - answers, 1 - rates))
    return NullPredictor(losses.mean().item(), None, "train rates of the labels", heldout_examples=len(heldout))


def exchanged_cross_entropy(logits: Float[Tensor, "example class"], targets: Int[Tensor, " example"]) -> Float64[Tensor, ""]:
    """Mean cross-entropy of every example's prediction with every example's answer, nats.

    That is the expected loss where answers are exchanged at random, so nothing has to be drawn. By Gibbs' inequality it is
    never under the entropy of the answers' shares: what each example is given does not depend on its own answer.
    """
    check_targets(logits, targets, caller="exchanged_cross_entropy")
    shares = _shares(targets)
    present = shares.nonzero()[:, 0]
    rows = max(1, CHUNK_ELEMENTS // logits.shape[1])
    parts = [torch.log_softmax(block.double(), dim=1)[:, present] @ shares[present] for block in torch.split(logits, rows)]
    return -torch.cat(parts).mean()


def _shares(targets: Tensor) -> Float64[Tensor, " class"]:
    return torch.bincount(targets.long()).double() / len(targets)
