# SPDX-License-Identifier: Apache-2.0
"""What a dashboard can be given; each kind of logger has a subclass that takes what that dashboard has a place for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lightning_interp.core.timeline import Timeline
from lightning_interp.dashboards.loggers.outcome import Outcome
from lightning_interp.dashboards.loggers.rows import Row
from lightning_interp.measures.label import NO_LABELS, Labels

if TYPE_CHECKING:
    import plotly.graph_objects as go


@runtime_checkable
class LightningLogger(Protocol):
    """The part of a Lightning logger that is used."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log numbers at a step."""
        ...


class LoggerAdapter:
    """A logger that takes rows and nothing else, such as CSVLogger.

    Everything but `draw` is called on the training thread. What a method raises costs what it was to send.
    """

    takes_figures = False
    """Whether figures are drawn for it while the training runs."""

    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def prepare(self, keys: Sequence[str], own: Labels = NO_LABELS) -> None:
        """Say what is to come: the keys of every row, and the labels of measures that are not built in."""

    def log(self, row: Row) -> None:
        """Take a row."""
        self.logger.log_metrics(row.metrics, row.step)

    def alert(self, title: str, text: str) -> None:
        """Tell people now."""

    def draw(self, figure: "go.Figure") -> object:
        """Make a figure ready to be handed over; called by a helper thread."""

    def show(self, drawn: object, step: int) -> None:
        """Take the figure of the timeline so far, as `draw` made it, at an optimizer step."""

    def summarize(self, timeline: Timeline, last_step: int) -> None:
        """Take the outcome in a few numbers and words, if it is final."""

    def publish_figures(self, outcome: Outcome) -> None:
        """Take figures at the end."""

    def publish_files(self, outcome: Outcome) -> None:
        """Take files at the end."""
