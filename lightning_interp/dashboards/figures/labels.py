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
class Label:
    """A record for people: its name, its unit (empty: dimensionless), and whether a logarithmic axis suits it."""

    label: str
    unit: str = ""
    log: bool = False


KNOWN = {
    "train_loss": Label("train loss", NATS, log=True),
    "heldout_loss": Label("held-out loss", NATS, log=True),
    "excluded_loss": Label("excluded loss, train (key frequencies)", NATS, log=True),
    "excluded_loss_max": Label("excluded loss, train (worst frequency)", NATS, log=True),
    "restricted_loss": Label("restricted loss, held-out", NATS, log=True),
    "loss_gap": Label("loss gap, held-out − train", NATS),
    "train_accuracy": Label("train accuracy", "share"),
    "heldout_accuracy": Label("held-out accuracy", "share"),
    "heldout_percentile": Label("held-out percentile", "share"),
    "heldout_percentile_z": Label("held-out percentile, z", "deviations of its null"),
    "train_margin": Label("score margin, train"),
    "heldout_margin": Label("score margin, held-out"),
    "weight_norm": Label("weight norm", "L2"),
    "weight_norm_slope": Label("slope of the weight norm", "power of the step"),
    "effective_rank": Label("effective rank"),
    "stable_rank": Label("stable rank"),
    "participation_ratio": Label("participation ratio"),
    "hoyer": Label("activation sparsity (Hoyer)", "0 to 1"),
    "near_zero_share": Label("near-zero activations", "share"),
    "gini_embedding": Label("Fourier Gini, embedding", "0 to 1"),
    "gini_readout": Label("Fourier Gini, readout", "0 to 1"),
    "lr": Label("learning rate", log=True),
    "weight_decay": Label("weight decay"),
    "batch_size": Label("batch size", "examples"),
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


def label_for(name: str) -> Label:
    """Words of a record; of one that is not known, its name."""
    base, _, rest = name.partition("/")
    if name in KNOWN:
        return KNOWN[name]
    if rest and base in KNOWN:
        return Label(f"{KNOWN[base].label}, {rest}", KNOWN[base].unit, KNOWN[base].log)
    return Label(name.removeprefix("logged/").replace("_", " "))


def axis_title(name: str) -> str:
    """Label with its unit in brackets."""
    words = label_for(name)
    return f"{words.label} ({words.unit})" if words.unit else words.label


def loss_unit(run: "RunView") -> str:
    """Nats where the loss is known to be a cross-entropy: a classifier, or a metrics history, which is taken for one."""
    classifies = run.analysis.get("n_classes") is not None or "train_accuracy" in run.series
    return NATS if classifies or run.manifest is None else OWN_UNIT
