# SPDX-License-Identifier: Apache-2.0
"""Which loss or accuracy a name stands for that somebody logs: the one place that knows the spellings."""

import re
from typing import NamedTuple

from lightning_interp.core.logged_curves import CURVES, Curve
from lightning_interp.core.outcome import LIKE_ACCURACY, LIKE_LOSS, words_of

LOADER = re.compile(r"/(dataloader_idx_(\d+))$")
"""What Lightning adds to names of what is logged of several validation loaders."""
TWIN = re.compile(r"_(step|epoch)$")
"""What Lightning adds where a value is logged both at each step and as an average over the epoch."""

_HELDOUT = re.compile(r"^(?:heldout|val|valid|validation|test)[_/]")
HELDOUT_WORDS = {"heldout", "val", "valid", "validation", "test", "eval", "evaluation", "dev"}
TRAIN_WORDS = {"train", "training"}
OTHER_THINGS = {"best", "max", "min", "std", "var", "scale", "grad", "lr", "weight", "gap", "ratio"}
"""Words of a name that is of a loss and none itself, such as the best so far or the scale of mixed precision."""


class CurveName(NamedTuple):
    """What a logged name stands for.

    Attributes:
        curve: The record it can stand in for.
        stem: The name without what Lightning adds: one for all that is logged of the same number.
        rank: Preference among names for the same curve, 0 first: a record's own spelling, of the validation before of the
            test; plain words; words with others beside them, such as ``g_loss``.
    """

    curve: Curve
    stem: str
    rank: int


def spelled_as_record(stem: str) -> str:
    """A lower-case name without suffixes, its prefix and ending as records spell them.

    >>> spelled_as_record("val/acc"), spelled_as_record("train/loss")
    ('heldout_accuracy', 'train_loss')
    """
    stem = re.sub(r"^train/", "train_", _HELDOUT.sub("heldout_", stem))
    return re.sub(r"_acc$", "_accuracy", stem)


def curve_name(logged: str) -> CurveName | None:
    """What a logged name stands for; None if it is no loss or accuracy, or of a further validation loader.

    Without a word for the split it is the training's.

    >>> curve_name("val/acc_epoch")
    CurveName(curve='heldout_accuracy', stem='val/acc', rank=0)
    >>> [curve_name(name).rank for name in ("loss", "g_loss")], curve_name("val/acc_best")
    ([2, 3], None)
    """
    loader = LOADER.search(logged)
    if loader is not None and loader[2] != "0":
        return None
    stem = TWIN.sub("", logged if loader is None else logged[: loader.start()])
    spelled = spelled_as_record(stem.strip().lower())
    for curve in CURVES:
        if spelled == curve:
            return CurveName(curve, stem, int(stem.strip().lower().startswith("test")))
    words = set(words_of(stem))
    is_loss = bool(words & LIKE_LOSS)
    if words & OTHER_THINGS or not (is_loss or words & LIKE_ACCURACY):
        return None
    losses: tuple[Curve, Curve] = ("train_loss", "heldout_loss")
    accuracies: tuple[Curve, Curve] = ("train_accuracy", "heldout_accuracy")
    plain = words <= HELDOUT_WORDS | TRAIN_WORDS | LIKE_LOSS | LIKE_ACCURACY
    return CurveName((losses if is_loss else accuracies)[bool(words & HELDOUT_WORDS)], stem, 2 if plain else 3)
