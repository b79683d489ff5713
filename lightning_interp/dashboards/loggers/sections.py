# SPDX-License-Identifier: Apache-2.0
"""Which scalar belongs beside which: sections and charts of a board, made of the names that are logged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lightning_interp.core.tca_settings import PREFIX as COMPONENT_PREFIX
from lightning_interp.core.timeline import INTENSITY_NAMES


@dataclass(frozen=True)
class Section:
    """A section of a board.

    Attributes:
        title: Heading.
        charts: Names of the curves of each chart, by its title.
    """

    title: str
    charts: Mapping[str, tuple[str, ...]]


COMPONENTS, OTHERS = "components", "others"

_LOSSES = ("train_loss", "heldout_loss", "excluded_loss", "excluded_loss_max", "restricted_loss")
_INTENSITIES = tuple(f"intensity_{name}" for name in INTENSITY_NAMES)
_PLAN = (
    # section, what it is about, chart, names in the order of the legend
    ("losses", "losses", "losses", _LOSSES),
    ("losses", "losses", "held-out minus train loss", ("loss_gap",)),
    ("accuracies", "losses", "accuracies (share)", ("train_accuracy", "heldout_accuracy")),
    ("accuracies", "losses", "margins of scores", ("train_margin", "heldout_margin")),
    ("accuracies", "losses", "held-out percentile (share)", ("heldout_percentile",)),
    ("accuracies", "losses", "held-out percentile (standard deviations)", ("heldout_percentile_z",)),
    ("phases", "phases", "intensities (0 to 1)", _INTENSITIES),
    ("phases", "phases", "number of the phase", ("phase",)),
    ("weights", "weights", "norm of the weights (L2)", ("weight_norm",)),
    ("weights", "weights", "slope of the norm (log-log)", ("weight_norm_slope",)),
    ("spectra and sparsity", "weights", "ranks of the weights", ("effective_rank", "stable_rank", "participation_ratio")),
    ("spectra and sparsity", "weights", "Fourier sparsity (Gini)", ("gini_embedding", "gini_readout")),
    ("spectra and sparsity", "activations", "sparsity of activations (Hoyer)", ("hoyer",)),
    ("spectra and sparsity", "activations", "activations near zero (share)", ("near_zero_share",)),
)


def sections_of(names: Sequence[str], *, by_subject: bool = False) -> tuple[Section, ...]:
    """Sections and charts in reading order, of these names only, and none of them left out.

    Args:
        names: Record names, intensities and `phase`, without the loggers' prefix and without the step.
        by_subject: Sections by what is looked at (losses, phases, weights, activations), not by kind of measure.

    >>> [(section.title, *section.charts) for section in sections_of(["phase", "heldout_loss", "mine", "train_loss"])]
    [('losses', 'losses'), ('phases', 'number of the phase'), ('others', 'mine')]
    """
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for section, subject, chart, planned in _PLAN:
        if present := tuple(name for name in planned if name in names):
            found.setdefault(subject if by_subject else section, {})[chart] = present
    components = [name for name in names if name.startswith(COMPONENT_PREFIX)]
    for name in components:
        layer = name.removeprefix(COMPONENT_PREFIX).rpartition("/")[0]
        charts = found.setdefault(COMPONENTS, {})
        charts[layer] = (*charts.get(layer, ()), name)
    known = {*components, *known_names()}
    for name in names:
        if name not in known:
            found.setdefault(OTHERS, {})[name] = (name,)
    return tuple(Section(title, charts) for title, charts in found.items())


def known_names() -> tuple[str, ...]:
    """Every name that has its place, in reading order."""
    return tuple(name for *_, planned in _PLAN for name in planned)
