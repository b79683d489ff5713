# SPDX-License-Identifier: Apache-2.0
"""What a record name is called, its unit, where it is shown and what it means; each measure says it of its own names."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

NATS = "nats"
LONGEST_TEXT = 200
"""Characters of any text of a label."""


@dataclass(frozen=True)
class Chart:
    """Where boards (TensorBoard, W&B) show a record.

    Attributes:
        section: Heading above the chart.
        title: Title of the chart; records that name the same one share it.
        place: Place within the section, the lowest first; of equal ones the measure that is registered first.
    """

    section: str
    title: str
    place: int = 0


@dataclass(frozen=True)
class Label:
    """A record for people.

    Attributes:
        label: Its name on axes and in tables.
        unit: Its unit, empty if it is dimensionless.
        log: Whether a logarithmic axis suits it.
        section: Figure it is drawn in: ``losses``, ``accuracies``, ``progress``, ``weights`` or ``sparsity``; any other
            stands for the figure of all other measures.
        row: Place within that figure, the lowest on top; of equal ones the measure that is registered first.
        about: One line for the documentation.
        chart: Where boards show it, None for a chart of its own in the section of the same name.
    """

    label: str
    unit: str = ""
    log: bool = False
    section: str = "others"
    row: int = 0
    about: str = ""
    chart: Chart | None = None

    @property
    def title(self) -> str:
        """Label with its unit in brackets."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def on_boards(self) -> Chart:
        """Where boards show it."""
        return self.chart or Chart(self.section, self.title)


Labels = Mapping[str, Label]
NO_LABELS: Labels = {}


def plain_label(label: Label) -> dict[str, Any]:
    """A label as figures and tables need it, in values JSON can hold and without what is not set."""
    kept = {name: value for name, value in vars(label).items() if name not in ("about", "chart")}
    return {name: value for name, value in kept.items() if value != getattr(Label, name, None)}


def read_labels(content: object, *, most: int) -> dict[str, Label]:
    """Labels from a file, which anybody may have written: entries of another form, long ones and the rest are left out.

    Args:
        content: Results of `plain_label` by name, or whatever the file holds.
        most: Entries that are looked at.

    >>> read_labels({"mine": {"label": "my measure", "unit": "J"}, "theirs": {"label": 3}}, most=40)["mine"].title
    'my measure (J)'
    """
    entries = islice(content.items(), most) if isinstance(content, Mapping) else ()
    return {str(name): Label(**entry) for name, entry in entries if is_plain_label(entry)}


def is_plain_label(entry: object) -> bool:
    """Whether a label can be made of it: the fields of one that stand for themselves in JSON, and no text that is long."""
    kinds = Label.__annotations__
    return (
        isinstance(entry, Mapping)
        and "label" in entry
        and all(type(value) is kinds.get(name) and len(str(value)) <= LONGEST_TEXT for name, value in entry.items())
    )
