# SPDX-License-Identifier: Apache-2.0
"""Which record name a column of somebody's metrics file stands for."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from lightning_interp.core.judged import LOADER_CURVES
from lightning_interp.core.logged_curves import CURVES
from lightning_interp.core.outcome import words_of
from lightning_interp.measures.curve_names import HELDOUT_WORDS, LOADER, OTHER_THINGS, TRAIN_WORDS, TWIN, spelled_as_record
from lightning_interp.measures.logged_names import record_name
from lightning_interp.measures.registry import makers
from lightning_interp.sources.metrics.axis import axis_name

CURVE_NAMES = CURVES
"""Curves phases are found from; a file must hold one of them."""

_SPECIAL = {"sum_sq": "weight_norm", "gini_we": "gini_embedding", "gini_wl": "gini_readout"}
_EXTREMES = re.compile(r"__(min|max)$", re.IGNORECASE)
_LOSSES = {"loss", "losses", "nll", "ce", "bce", "crossentropy", "xent", "logloss", "mlogloss", "objective", "cost"}
_ACCURACIES = {"acc", "accuracy", "accu", "accuracies"}
_PERPLEXITIES = {"ppl", "perplexity"}
_TOTAL = {"total", "overall", "all", "full"}
_PLAIN = {
    "metrics",
    "metric",
    "avg",
    "average",
    "mean",
    "log",
    "binary",
    "categorical",
    "sparse",
    "multiclass",
    "multi",
    "top",
}
_PLAIN |= {"1", "acc1", "top1", "language", "set", "data", "dataset", "score"}
_PARTS = {
    "kl",
    "kld",
    "reg",
    "regularization",
    "aux",
    "auxiliary",
    "box",
    "bbox",
    "cls",
    "dfl",
    "obj",
    "l1",
    "l2",
    "penalty",
}
_PARTS |= {"commit", "commitment", "vq", "d", "g", "disc", "gen", "discriminator", "generator", "adv", "adversarial", "rpn"}
_PARTS |= {"mask", "objectness", "style", "perceptual", "prior", "loc", "giou", "iou", "diou", "entropy", "policy", "value"}
_PARTS |= {"critic", "actor", "balance", "router", "z", "distill", "orthogonality", "decay", "smoothness", "gp", "gradient"}
_PARTS |= {"reconstruction", "recon", "rec", "seg", "segmentation", "depth"}
_NOT_CURVES = OTHER_THINGS | {
    "ema",
    "delta",
    "diff",
    "count",
    "num",
    "patience",
    "hat",
    "target",
    "improvement",
    "best_so_far",
}
_NOT_CURVES |= {"5", "top5", "acc5", "10", "change", "rate", "time", "scaled", "increase", "counter"}
_SPLIT = re.compile(rf"^({'|'.join(sorted(HELDOUT_WORDS | TRAIN_WORDS, key=len, reverse=True))})(loss|acc|accuracy|ppl)$")


@dataclass(frozen=True)
class Meaning:
    """What a column stands for.

    Attributes:
        name: Record name; of a bare ``loss`` that of the training.
        rank: Preference among columns that stand for the same name, 0 first: the record name itself, then its aliases, then
            averages over an epoch, then single batches; `val` before `test`; plain words before words with others.
        convert: From the column's number to the record's.
        said: Whether the name tells which data it is of.
        part: Whether it looks like one term of a loss only.
    """

    name: str
    rank: int
    convert: Callable[[float], float] = float
    said: bool = True
    part: bool = False


class Words(NamedTuple):
    """A column's name taken apart: of which data, which quantity, and the words left over."""

    side: str | None
    quantity: str
    rest: frozenset[str]


def meaning_of(column: str) -> Meaning | None:
    """The record a column stands for, None where it is not understood.

    >>> meaning_of("val/acc_epoch").name
    'heldout_accuracy'
    >>> meaning_of("epoch") is None
    True
    >>> [meaning_of(f"val_loss/dataloader_idx_{k}").name for k in (0, 1)]
    ['heldout_loss', 'heldout_loss/dataloader_idx_1']
    >>> meaning_of("Train Loss").name, meaning_of("metrics/eval/LanguageCrossEntropy").name
    ('train_loss', 'heldout_loss')
    """
    column = own_part(column)
    own = record_name(column) or column
    if own.partition("/")[0] in LOADER_CURVES and "/" in own and not LOADER.search(own):
        return Meaning(own, 0)
    loader = LOADER.search(column)
    if loader is None:
        return _meaning_of(column)
    meaning = _meaning_of(column[: loader.start()])
    if meaning is None or meaning.name not in LOADER_CURVES:
        return None
    return meaning if loader[2] == "0" else replace(meaning, name=f"{meaning.name}/{loader[1]}")


def own_part(column: str) -> str:
    """A column's name without that of its run, which W&B's exports put before it: ``run name - metric``."""
    return column.strip().rsplit(" - ", 1)[-1]


def run_of(column: str) -> str | None:
    """The run that a column of a W&B export is of."""
    run, between, _ = column.strip().rpartition(" - ")
    return run if between else None


def is_own(column: str) -> bool:
    """Whether the monitor logged it."""
    return record_name(own_part(column)) is not None


def understood() -> str:
    """The names a file may use, in a sentence for error messages."""
    return (
        f"Understood are step with {', '.join(CURVE_NAMES)}, with val_ or test_ for heldout_, _acc for _accuracy, "
        "train/ and val/ as prefixes, _step and _epoch as suffixes"
    )


def choose_bare(meanings: Mapping[str, Meaning]) -> dict[str, Meaning]:
    """Meanings of columns, with the bare ones decided by what stands beside them.

    A bare loss is the training's unless its data are said elsewhere. A bare accuracy is, too, where it has a held-out twin
    or a bare loss beside it (Keras); beside losses of both kinds it may be of either, but where the other is called
    `valid_loss` (fastai), which measures after the validation.
    """
    said = {meaning.name for meaning in meanings.values() if meaning.said}
    bare_loss = any(not meaning.said and meaning.name == "train_loss" for meaning in meanings.values())
    fastai = any(own_part(column).lower() == "valid_loss" for column in meanings)
    found = {}
    for column, meaning in meanings.items():
        only_train = "heldout_loss" not in said or (bare_loss and "train_loss" not in said)
        if meaning.said or meaning.name.endswith("loss") or "heldout_accuracy" in said or only_train:
            found[column] = meaning
        elif fastai:
            found[column] = replace(meaning, name="heldout_accuracy")
    return found


def _meaning_of(column: str) -> Meaning | None:
    text = column.strip().lower()
    own = record_name(text)
    text, known = own or text, makers()
    if text in known:
        return Meaning(text, 0)
    stem = TWIN.sub("", text)
    rank = 1 + 4 * (stem != text) + 2 * text.endswith("_step") + text.startswith("test")
    if stem in _SPECIAL:
        return Meaning(_SPECIAL[stem], rank, root if stem == "sum_sq" else float)
    spelled = spelled_as_record(stem)
    if spelled in known:
        return Meaning(spelled, rank)
    if own is not None or _EXTREMES.search(text) or axis_name(column):
        return None
    return _in_words(column.strip(), rank)


def _in_words(column: str, rank: int) -> Meaning | None:
    taken = _taken_apart(TWIN.sub("", column))
    if taken is None:
        return None
    side, quantity, rest = taken
    extra = rest - _PLAIN - _TOTAL
    part = quantity == "loss" and bool(extra & _PARTS)
    rank += 10 + 20 * bool(extra) + 10 * (side is None) - 2 * bool(rest & _TOTAL) + 2 * (side == "test")
    name = f"{'heldout' if side in ('heldout', 'test') else 'train'}_{'accuracy' if quantity == 'accuracy' else 'loss'}"
    if quantity == "perplexity":
        return Meaning(name, rank + 50, log, side is not None)
    return Meaning(name, rank, float, side is not None, part)


def _taken_apart(name: str) -> Words | None:
    """Data and quantity in a name's words; None if it is no loss, accuracy or perplexity."""
    words = _single_words(name.replace("@1", "1").replace("@5", "5").replace("@", " "))
    if not words or set(words) & _NOT_CURVES:
        return None
    quantity = _quantity(words)
    if quantity is None:
        return None
    sides = [word for word in words if word in HELDOUT_WORDS or word in TRAIN_WORDS]
    side = None if not sides else "train" if sides[-1] in TRAIN_WORDS else "test" if sides[-1] == "test" else "heldout"
    known = _LOSSES | _ACCURACIES | _PERPLEXITIES | HELDOUT_WORDS | TRAIN_WORDS
    return Words(side, quantity, frozenset(words) - known)


def _quantity(words: list[str]) -> str | None:
    plain = set(words)
    if plain & _PERPLEXITIES:
        return "perplexity"
    if plain & (_ACCURACIES | {"acc1", "top1"}):
        return None if plain & _LOSSES else "accuracy"
    return "loss" if plain & _LOSSES else None


def _single_words(name: str) -> list[str]:
    """Words of a name, each once, in their order; `trainloss` is two."""
    found: list[str] = []
    for piece in filter(None, re.split(r"[^A-Za-z0-9]+", name)):
        split = _SPLIT.match(piece.lower())
        if split:
            found += split.groups()
        elif piece.lower() in ("acc1", "acc5", "top1", "top5") or not re.search(r"[a-z][A-Z]|[A-Z]{2}[a-z]", piece):
            found.append(piece.lower())
        else:
            found += [word for word in words_of(piece) if word != piece.lower()]
    return " ".join(found).replace("cross entropy", "crossentropy").split()


def columns_with(names: Iterable[str], wanted: str) -> list[str]:
    """Columns that may be meant by a record name, for somebody who has to choose."""
    quantity = wanted.rpartition("_")[2]
    held = wanted.startswith("heldout")
    found = []
    for name in names:
        taken = _taken_apart(own_part(name))
        side = None if taken is None else taken.side
        if (
            taken
            and taken.quantity in (quantity, "perplexity")
            and side in ((None, "heldout", "test") if held else (None, "train"))
        ):
            found.append(name)
    return found


def root(square: float) -> float:
    """The norm of a sum of squares."""
    return square**0.5 if square >= 0 else float("nan")


def log(perplexity: float) -> float:
    """The loss in nats of a perplexity."""
    return math.log(perplexity) if perplexity > 0 else float("nan")
