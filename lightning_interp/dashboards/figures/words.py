# SPDX-License-Identifier: Apache-2.0
"""What record names are called on axes and in tables, their units, and where they are drawn."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightning_interp.dashboards.theme import EXCLUDED, HELDOUT, RESTRICTED, TRAIN

if TYPE_CHECKING:
    from lightning_interp.dashboards.run_view import RunView

NATS = "nats"
OWN_UNIT = "unit of the training's own loss"


@dataclass(frozen=True)
class Words:
    """A record for people: its name, its unit (empty: dimensionless), and whether a logarithmic axis suits it."""

    label: str
    unit: str = ""
    log: bool = False


KNOWN = {
    "train_loss": Words("train loss", NATS, log=True),
    "heldout_loss": Words("held-out loss", NATS, log=True),
    "excluded_loss": Words("excluded loss, train (key frequencies)", NATS, log=True),
    "excluded_loss_max": Words("excluded loss, train (worst frequency)", NATS, log=True),
    "restricted_loss": Words("restricted loss, held-out", NATS, log=True),
    "loss_gap": Words("loss gap, held-out − train", NATS),
    "train_accuracy": Words("train accuracy", "share"),
    "heldout_accuracy": Words("held-out accuracy", "share"),
    "heldout_percentile": Words("held-out percentile", "share"),
    "heldout_percentile_z": Words("held-out percentile, z", "deviations of its null"),
    "train_margin": Words("score margin, train"),
    "heldout_margin": Words("score margin, held-out"),
    "weight_norm": Words("weight norm", "L2"),
    "weight_norm_slope": Words("slope of the weight norm", "power of the step"),
    "effective_rank": Words("effective rank"),
    "stable_rank": Words("stable rank"),
    "participation_ratio": Words("participation ratio"),
    "hoyer": Words("activation sparsity (Hoyer)", "0 to 1"),
    "near_zero_share": Words("near-zero activations", "share"),
    "gini_embedding": Words("Fourier Gini, embedding", "0 to 1"),
    "gini_readout": Words("Fourier Gini, readout", "0 to 1"),
    "lr": Words("learning rate", log=True),
    "weight_decay": Words("weight decay"),
    "batch_size": Words("batch size", "examples"),
}

PROGRESS = (
    "restricted_loss",
    "excluded_loss",
    "excluded_loss_max",
    "heldout_percentile",
    "heldout_percentile_z",
    "heldout_margin",
    "train_margin",
    "gini_embedding",
    "gini_readout",
    "loss_gap",
)
"""Measures that move before accuracy does."""
WEIGHTS = ("weight_norm", "weight_norm_slope", "effective_rank", "stable_rank", "participation_ratio")
SPARSITY = ("hoyer", "near_zero_share")
OUTCOMES = ("train_loss", "heldout_loss", "train_accuracy", "heldout_accuracy")
COMPONENT_PREFIX = "component/"

MEANING_COLORS = {
    "train_loss": TRAIN,
    "heldout_loss": HELDOUT,
    "train_accuracy": TRAIN,
    "heldout_accuracy": HELDOUT,
    "excluded_loss": EXCLUDED,
    "excluded_loss_max": EXCLUDED,
    "restricted_loss": RESTRICTED,
}


def words_for(name: str) -> Words:
    """Words of a record; of one that is not known, its name."""
    base, _, rest = name.partition("/")
    if name in KNOWN:
        return KNOWN[name]
    if rest and base in KNOWN:
        return Words(f"{KNOWN[base].label}, {rest}", KNOWN[base].unit, KNOWN[base].log)
    return Words(name.removeprefix("logged/").replace("_", " "))


def axis_title(name: str) -> str:
    """Label with its unit in brackets."""
    words = words_for(name)
    return f"{words.label} ({words.unit})" if words.unit else words.label


def loss_unit(run: "RunView") -> str:
    """Nats where the loss is known to be a cross-entropy: a classifier, or a metrics history, which is taken for one."""
    classifies = run.analysis.get("n_classes") is not None or "train_accuracy" in run.series
    return NATS if classifies or run.manifest is None else OWN_UNIT
