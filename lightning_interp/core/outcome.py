# SPDX-License-Identifier: Apache-2.0
"""A number the training logs that says how good a network is, for those whose success is not the probe's accuracy."""

import difflib
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from lightning_interp.core.errors import ConfigError

Direction = Literal["max", "min"]

OUTCOME, OUTCOME_STEP = "outcome", "outcome_step"
"""Record names: the outcome as of a snapshot, and the optimizer step of the validation that gave it."""
LARGEST_SHARE = 1 + 1e-6
SHOWN = 8
"""Most names listed for somebody who looks for another."""

LIKE_ACCURACY = {"acc", "accuracy"}
"""Words that say a number is an accuracy."""
LIKE_LOSS = {"loss", "nll", "ce", "bce", "crossentropy", "xent"}
"""Words that say a number is a loss."""
_NULLS = {"auc": 0.5, "auroc": 0.5} | dict.fromkeys(
    ("r2", "kappa", "mcc", "matthews", "pearson", "spearman", "correlation"), 0.0
)
"""What a constant answer gets by definition, whatever the data are."""
_UP = LIKE_ACCURACY | _NULLS.keys()
_UP |= {"f1", "fbeta", "dice", "iou", "miou", "jaccard", "ap", "map", "auprc", "precision", "recall", "specificity", "bleu"}
_UP |= {"rouge", "meteor", "chrf", "ndcg", "mrr", "ssim"}
_DOWN = LIKE_LOSS | {"error", "err", "wer", "cer", "mse", "rmse", "mae", "mape", "perplexity", "ppl", "fid", "lpips"}
_WORD = re.compile(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*")


Role = Literal["accuracy", "loss", "own_loss"]
"""What an outcome stands in for; ``own_loss`` is one in another unit than the train loss."""


@dataclass(frozen=True)
class StandIn:
    """A number of the user's that is judged in place of held-out accuracy or loss.

    Attributes:
        name: What sentences call it.
        role: What it stands in for.
    """

    name: str
    role: Role


@dataclass(frozen=True)
class Outcome:
    """A logged number that decides in place of held-out accuracy, or of held-out loss if the smaller is the better.

    Attributes:
        name: What the training logs it as, such as ``"val/f1"``.
        direction: ``"max"`` if more is better, ``"min"`` if less is; None to tell by the name.
        null_value: What a predictor gets that ignores its input, such as .5 for an AUC; None if it is not known.
        best: What a perfect predictor gets, such as 100 for a percentage; of direction ``max`` only.
    """

    name: str
    direction: Direction | None = None
    null_value: float | None = None
    best: float = 1.0

    def checked(self) -> "Outcome":
        """The same with its direction.

        Raises:
            ConfigError: A value cannot be honoured, or the name does not tell the direction.
        """
        if not isinstance(self.name, str) or not self.name.strip():
            raise ConfigError(f"outcome: expected the name of a logged number, such as 'val/f1', got {self.name!r}.")
        direction = self.direction or direction_of(self.name)
        if direction is None:
            raise ConfigError(
                f"outcome: {self.name!r} does not tell whether more is better. Say 'max:{self.name}' or 'min:{self.name}'."
            )
        if direction not in get_args(Direction):
            raise ConfigError(f"outcome.direction: expected max or min, got {direction!r}.")
        if not _is_number(self.best) or self.best <= 0:
            raise ConfigError(f"outcome.best: expected a number over 0, such as 100 for a percentage, got {self.best!r}.")
        if direction == "min" and self.best != 1.0:
            raise ConfigError(f"outcome.best: of {self.name!r}, of which less is better, the best is 0; leave it out.")
        if self.null_value is not None and not _is_null(self.null_value, direction, self.best):
            allowed = f"from 0 on and under {self.best:g}" if direction == "max" else "over 0"
            raise ConfigError(
                f"outcome.null_value: expected what a predictor gets as {self.name!r} that ignores its input, a number "
                f"{allowed}, got {self.null_value!r}."
            )
        return replace(self, direction=direction)

    @property
    def stand_in(self) -> "StandIn":
        """What it is to the detector."""
        role: Role = "accuracy" if self.direction == "max" else "loss" if self.is_loss_like else "own_loss"
        return StandIn(self.name, role)

    @property
    def is_loss_like(self) -> bool:
        """Whether it is a loss as the training's, so that levels of the probe's loss are levels of it."""
        return self.direction == "min" and _last_word(self.name, _UP | _DOWN) in LIKE_LOSS

    @property
    def is_accuracy_like(self) -> bool:
        """Whether it is an accuracy, so that levels of the probe's accuracy are levels of it."""
        return self.direction == "max" and _last_word(self.name, _UP | _DOWN) in LIKE_ACCURACY

    @property
    def known_null(self) -> tuple[float, str] | None:
        """What a predictor gets that ignores its input, and where the number comes from; None if nobody says."""
        if self.null_value is not None:
            return self.null_value, f"given as the null of {self.name}"
        word = _last_word(self.name, _UP | _DOWN)
        if self.direction == "max" and word in _NULLS:
            return _NULLS[word] * self.best, f"what a constant answer gets as {word} by its definition"
        return None

    def plain(self) -> dict[str, Any]:
        """The outcome in values JSON can hold; `from_plain` takes them back."""
        return asdict(self)

    @classmethod
    def from_plain(cls, content: Mapping[str, Any]) -> "Outcome":
        """An outcome as `plain` gave it; fields this version does not know are ignored.

        Raises:
            ConfigError: A value cannot be honoured.
        """
        known = {name: content[name] for name in cls.__dataclass_fields__ if name in content}
        return cls(**{"name": "", **known}).checked()


def outcome_of(given: Outcome | str | None) -> Outcome | None:
    """What the argument `outcome` asks for: an `Outcome`, or its name with or without ``max:`` or ``min:`` before it.

    >>> outcome_of("val/f1")
    Outcome(name='val/f1', direction='max', null_value=None, best=1.0)
    >>> outcome_of("min:val/distance").direction
    'min'

    Raises:
        ConfigError: It is something else, or cannot be honoured.
    """
    if given is None or isinstance(given, Outcome):
        return None if given is None else given.checked()
    if not isinstance(given, str):
        raise ConfigError(f"outcome: expected the name of a logged number or Outcome(...), got a {type(given).__name__}.")
    head, _, rest = given.partition(":")
    if head == "max":
        return Outcome(rest, "max").checked()
    return (Outcome(rest, "min") if head == "min" else Outcome(given)).checked()


def direction_of(name: str) -> Direction | None:
    """Whether more of a number is better or less, by the last word of its name that tells; None if none does.

    >>> [direction_of(name) for name in ("val/MulticlassF1Score", "val_mean_squared_error", "f1_loss", "val/quality")]
    ['max', 'min', 'min', None]
    """
    word = _last_word(name, _UP | _DOWN)
    return None if word is None else "max" if word in _UP else "min"


def nearest(name: str, known: Collection[str]) -> str:
    """What else is logged, in words, the most similar names first.

    >>> nearest("val/f1", ["train_loss", "val_loss", "val/F1"])
    'logged are val/F1, val_loss, train_loss'
    """
    close = difflib.get_close_matches(name.lower(), [each.lower() for each in known], n=SHOWN, cutoff=0.0)
    ordered = sorted(known, key=lambda each: close.index(each.lower()) if each.lower() in close else SHOWN)
    if not ordered:
        return "nothing is logged"
    more = f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else ""
    return f"logged are {', '.join(ordered[:SHOWN])}{more}"


def words_of(name: str) -> list[str]:
    """Words of a name in lower case, each piece between other characters also as a whole.

    >>> words_of("valLoss/top-5")
    ['val', 'loss', 'valloss', 'top', 'top', '5']
    """
    pieces = filter(None, re.split(r"[^A-Za-z0-9]+", name))
    return [word.lower() for piece in pieces for word in (*_WORD.findall(piece), piece)]


def _last_word(name: str, among: set[str]) -> str | None:
    return next((word for word in reversed(words_of(name)) if word in among), None)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_null(null: float, direction: str, best: float) -> bool:
    return _is_number(null) and (0 <= null < best if direction == "max" else null > 0)
