# SPDX-License-Identifier: Apache-2.0
"""What names are called on axes and in tables, and which figure draws them; measures declare it."""

from lightning_interp.dashboards.run_view import SETTINGS, RunView
from lightning_interp.dashboards.theme import EXCLUDED, HELDOUT, RESTRICTED, TRAIN
from lightning_interp.measures.label import NATS, NO_LABELS, Label, Labels
from lightning_interp.measures.registry import known_labels

OWN_UNIT = "unit of the training's own loss"

MEANING_COLORS = {
    "train_loss": TRAIN,
    "heldout_loss": HELDOUT,
    "train_accuracy": TRAIN,
    "heldout_accuracy": HELDOUT,
    "excluded_loss": EXCLUDED,
    "excluded_loss_max": EXCLUDED,
    "restricted_loss": RESTRICTED,
}


def label_for(name: str, own: Labels = NO_LABELS) -> Label:
    """Label of a record or setting, or its name if it has none; ``hoyer/act`` has the label of ``hoyer``."""
    known = {**known_labels(), **SETTINGS, **own}
    base, _, rest = name.partition("/")
    if name in known:
        return known[name]
    if rest and base in known:
        return Label(f"{known[base].label}, {rest}", known[base].unit, known[base].log)
    return Label(name.removeprefix("logged/").replace("_", " "))


def drawn_in(section: str, own: Labels = NO_LABELS) -> tuple[str, ...]:
    """Names whose labels put them into one figure, from top to bottom."""
    labels = {name: label for name, label in {**known_labels(), **own}.items() if label.section == section}
    return tuple(sorted(labels, key=lambda name: labels[name].row))


def loss_unit(run: RunView) -> str:
    """Nats if the loss is known to be a cross-entropy: a classifier, or a metrics history, which is taken for one."""
    classifies = run.analysis.get("n_classes") is not None or "train_accuracy" in run.series
    return NATS if classifies or run.manifest is None else OWN_UNIT
