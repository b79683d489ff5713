# SPDX-License-Identifier: Apache-2.0
"""Which of the values that a step returns or logs is its loss, by their names."""

import re
from collections.abc import Iterable

from lightning_interp.measures.curve_names import OTHER_THINGS

_USUAL = ("loss", "val_loss", "val/loss", "valid_loss", "validation_loss", "test_loss", "train_loss", "train/loss")
_WHOLE = {"total", "overall", "full", "sum"}
_KINDS = {
    *("nll", "ce", "xent", "crossentropy", "bce", "mse", "mae", "rmse", "l1", "l2", "huber", "kl", "kld", "ctc"),
    *("objective", "cost", "criterion", "energy"),
}
"""Words that name a kind of loss. Not among them: what is better the larger it is, such as an evidence bound."""


def rank_losses(names: Iterable[str]) -> list[str]:
    """Names of losses, the best first: the usual ones, then a total, then in the order given; words such as `mse` last.

    >>> rank_losses(["val_acc", "val_kl_loss", "val_total_loss", "val_mse"])
    ['val_total_loss', 'val_kl_loss', 'val_mse']
    >>> rank_losses(["best_val_loss", "loss_weight", "partial_val_loss", "partial_val_accuracy"])
    ['partial_val_loss']
    """
    ranked = [(_rank(name), place, name) for place, name in enumerate(names)]
    return [name for rank, _, name in sorted(ranked) if rank < _NONE]


def is_whole(name: str) -> bool:
    """Whether a name says that this is the whole loss, so that losses beside it are parts of it or others."""
    return name in _USUAL or bool(_words(name) & _WHOLE)


def is_share(name: str) -> bool:
    """Whether a value of this name is the part that one batch has in a whole."""
    return "partial" in _words(name)


_NONE = 100


def _rank(name: str) -> int:
    if name in _USUAL:
        return _USUAL.index(name)
    words = _words(name)
    if words & OTHER_THINGS:
        return _NONE
    if any("loss" in word for word in words):
        return 20 if words & _WHOLE else 21
    return 30 if words & _KINDS else _NONE


def _words(name: str) -> set[str]:
    """Words of a name, however they are joined: ``val/ce``, ``val_ce``, ``valCE``."""
    parted = re.sub(r"([a-z])([A-Z])", r"\1_\2", str(name))
    return {word for word in re.split(r"[^0-9a-z]+", parted.lower()) if word}
