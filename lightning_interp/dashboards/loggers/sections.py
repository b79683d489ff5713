# SPDX-License-Identifier: Apache-2.0
"""Which scalar belongs beside which: sections and charts of a board, made of the names that are logged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lightning_interp.core.tca_settings import PREFIX as COMPONENT_PREFIX
from lightning_interp.core.timeline import INTENSITY_NAMES
from lightning_interp.measures.base import Measure
from lightning_interp.measures.label import NO_LABELS, Chart, Label, Labels
from lightning_interp.measures.logged_names import COMPONENTS, OTHERS, is_component
from lightning_interp.measures.registry import known_labels, makers


@dataclass(frozen=True)
class Section:
    """A section of a board.

    Attributes:
        title: Heading.
        charts: Names of the curves of each chart, by its title.
    """

    title: str
    charts: Mapping[str, tuple[str, ...]]


PHASES = "phases"
_ORDER = ("losses", "accuracies", PHASES, "weights")
"""Sections that come first, in reading order."""
_TIMELINE = {
    **{f"intensity_{name}": Label(name, chart=Chart(PHASES, "intensities (0 to 1)")) for name in INTENSITY_NAMES},
    "phase": Label("phase", chart=Chart(PHASES, "number of the phase")),
}
"""What no measure gives."""


def sections_of(names: Sequence[str], own: Labels = NO_LABELS, *, by_subject: bool = False) -> tuple[Section, ...]:
    """Sections and charts in reading order, of these names only, and none of them left out.

    Args:
        names: Record names, intensities and `phase`, without the loggers' prefix and without the step.
        own: Labels of measures that are not built in.
        by_subject: Sections by what is looked at (losses, phases, weights, activations), not by kind of measure.

    >>> [(section.title, *section.charts) for section in sections_of(["phase", "heldout_loss", "mine", "train_loss"])]
    [('losses', 'losses'), ('phases', 'number of the phase'), ('others', 'mine')]
    """
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    placed, classes = _reading_order(own), makers()
    for name in (name for name in placed if name in names):
        chart = placed[name].on_boards
        section = _subject(classes[name]) if by_subject and name in classes else chart.section
        charts = found.setdefault(section, {})
        charts[chart.title] = (*charts.get(chart.title, ()), name)
    others = found.pop(OTHERS, {})
    for name in filter(is_component, names):
        layer = name.removeprefix(COMPONENT_PREFIX).rpartition("/")[0]
        charts = found.setdefault(COMPONENTS, {})
        charts[layer] = (*charts.get(layer, ()), name)
    others |= {name: (name,) for name in names if name not in placed and not is_component(name)}
    if others:
        found[OTHERS] = others
    return tuple(Section(title, charts) for title, charts in found.items())


def known_names() -> tuple[str, ...]:
    """Every name that has its place, in reading order."""
    return tuple(_reading_order(NO_LABELS))


def _reading_order(own: Labels) -> dict[str, Label]:
    """Labels of all names that have one: section by section, in each by place."""
    labels = {**known_labels(), **own, **_TIMELINE}
    sections = [*_ORDER, *(label.on_boards.section for label in labels.values())]

    def key(name: str) -> tuple[int, int]:
        chart = labels[name].on_boards
        return sections.index(chart.section), chart.place

    return {name: labels[name] for name in sorted(labels, key=key)}


def _subject(measure: type[Measure]) -> str:
    """What a measure looks at."""
    if "activations" in measure.needs:
        return "activations"
    return "losses" if "outputs" in measure.needs else "weights"
