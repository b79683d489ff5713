# SPDX-License-Identifier: Apache-2.0
"""Which record name a column of somebody's metrics file stands for."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from lightning_interp.core.judged import LOADER_CURVES
from lightning_interp.core.logged_curves import CURVES
from lightning_interp.measures.curve_names import LOADER, TWIN, spelled_as_record
from lightning_interp.measures.logged_names import STEP_KEY, record_name
from lightning_interp.measures.registry import makers

CURVE_NAMES = CURVES
"""Curves phases are found from; a file must hold one of them."""
STEP_NAMES = ("step", STEP_KEY, "trainer/global_step", "global_step", "_step")
"""Names of the optimizer step, the surest first; W&B counts its own log calls as `_step`."""
OWN_STEP = STEP_KEY
"""Optimizer step of the monitor's own rows. They come late: what a logger adds to them is the step at which they came."""

_SPECIAL = {"sum_sq": "weight_norm", "gini_we": "gini_embedding", "gini_wl": "gini_readout"}


@dataclass(frozen=True)
class Meaning:
    """What a column stands for.

    Attributes:
        name: Record name.
        rank: Preference among columns that stand for the same name, 0 first: the record name itself, then its aliases, then
            averages over an epoch, then single batches; `val` before `test`.
        convert: From the column's number to the record's.
    """

    name: str
    rank: int
    convert: Callable[[float], float] = float


def meaning_of(column: str) -> Meaning | None:
    """The record a column stands for, None where it is not understood.

    >>> meaning_of("val/acc_epoch").name
    'heldout_accuracy'
    >>> meaning_of("epoch") is None
    True
    >>> [meaning_of(f"val_loss/dataloader_idx_{k}").name for k in (0, 1)]
    ['heldout_loss', 'heldout_loss/dataloader_idx_1']
    """
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


def _meaning_of(column: str) -> Meaning | None:
    text = column.strip().lower().rsplit(" - ", 1)[-1]  # W&B exports "run name - metric"
    text, known = record_name(text) or text, makers()
    if text in known:
        return Meaning(text, 0)
    stem = TWIN.sub("", text)
    rank = 1 + 4 * (stem != text) + 2 * text.endswith("_step") + text.startswith("test")
    if stem in _SPECIAL:
        return Meaning(_SPECIAL[stem], rank, _root if stem == "sum_sq" else float)
    stem = spelled_as_record(stem)
    return Meaning(stem, rank) if stem in known else None


def understood() -> str:
    """The names a file may use, in a sentence for error messages."""
    return (
        f"Understood are step with {', '.join(CURVE_NAMES)}, with val_ or test_ for heldout_, _acc for _accuracy, "
        "train/ and val/ as prefixes, _step and _epoch as suffixes"
    )


def choose_columns(columns: Iterable[str], counts: Mapping[str, int]) -> tuple[dict[str, str], tuple[str, ...]]:
    """One column for each record name.

    Returns:
        Column by column the record name it is used for, and the columns left out. Among columns of one name the
        preferred one wins, unless it holds under 10 values and another holds more.
    """
    candidates: dict[str, list[tuple[int, str]]] = {}
    for column in columns:
        if (meaning := meaning_of(column)) and counts.get(column, 0):
            candidates.setdefault(meaning.name, []).append((meaning.rank, column))
    chosen: dict[str, str] = {}
    for name, options in candidates.items():
        best = min(options, key=lambda option: (-min(counts[option[1]], 10), option[0]))
        chosen[best[1]] = name
    return chosen, tuple(column for column in columns if column not in chosen)


def _root(square: float) -> float:
    return square**0.5 if square >= 0 else float("nan")
