# SPDX-License-Identifier: Apache-2.0
"""Results to whatever loggers the Trainer has, on the training thread, each row at its snapshot's own step."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lightning_interp.core.console import warn
from lightning_interp.core.timeline import Timeline
from lightning_interp.dashboards.loggers.logger_adapter import LightningLogger as LightningLogger  # what a training gives
from lightning_interp.dashboards.loggers.logger_adapter import LoggerAdapter
from lightning_interp.dashboards.loggers.mlflow import MLflowAdapter
from lightning_interp.dashboards.loggers.outcome import Outcome
from lightning_interp.dashboards.loggers.rows import Row
from lightning_interp.dashboards.loggers.tensorboard import TensorBoardAdapter
from lightning_interp.dashboards.loggers.wandb import WandbAdapter
from lightning_interp.measures.label import NO_LABELS, Labels
from lightning_interp.store.delivered import WandbTarget

if TYPE_CHECKING:
    import plotly.graph_objects as go

ADAPTERS: dict[str, type[LoggerAdapter]] = {
    "WandbLogger": WandbAdapter,
    "TensorBoardLogger": TensorBoardAdapter,
    "MLFlowLogger": MLflowAdapter,
}
"""By the name of the logger's class, so that both Lightning namespaces count and neither is imported here."""

RESULT = "a result"
Drawn = list[tuple[LoggerAdapter, object]]


class LoggerSet:
    """The loggers of one training.

    Args:
        loggers: `trainer.loggers`; may be empty.
        keys: Keys of every row.
        own: Labels of measures that are not built in.
        earlier: W&B runs as an earlier start left them; one that goes on gets no row twice.
    """

    def __init__(
        self,
        loggers: Sequence[LightningLogger],
        keys: Sequence[str] = (),
        own: Labels = NO_LABELS,
        *,
        earlier: Sequence[WandbTarget] = (),
    ) -> None:
        self._warned: set[tuple[int, str]] = set()
        self._steps: dict[int, int] = {}
        self._incomplete: set[int] = set()
        self._outcome_steps: dict[int, int] = {}
        self._targets: dict[int, WandbTarget] = {}
        self._boards: list[LoggerAdapter] = []
        for logger in loggers:
            self._send(logger, RESULT, self._add, logger)
        for board in self._boards:
            self._send(board.logger, "its set-up", board.prepare, keys, own)
        self._look_up_targets()
        for key, target in self._targets.items():
            for before in earlier:
                if before.is_same_run(target):
                    self._steps[key] = before.step

    def log(self, row: Row) -> None:
        """Log one row everywhere."""
        for board in self._boards:
            if row.step <= self._steps.get(id(board), -1):
                continue
            if not self._send(board.logger, RESULT, board.log, row):
                self._incomplete.add(id(board))
            elif id(board) not in self._incomplete:
                self._steps[id(board)] = row.step

    def alert(self, title: str, text: str) -> None:
        """Send an alert where the dashboard has alerts."""
        for board in self._boards:
            self._send(board.logger, "an alert", board.alert, title, text)

    @property
    def takes_figures(self) -> bool:
        """Whether figures are of use while the training runs."""
        return any(board.takes_figures for board in self._boards)

    def draw(self, figure: "go.Figure") -> Drawn:
        """Make a figure ready for the dashboards that take figures; for a helper thread."""
        return [(board, board.draw(figure)) for board in self._boards if board.takes_figures]

    def show(self, drawn: Drawn, step: int) -> None:
        """Send what `draw` made, as the timeline at an optimizer step."""
        for board, figure in drawn:
            self._send(board.logger, "a figure", board.show, figure, step)

    def summarize(self, timeline: Timeline, last_step: int) -> None:
        """Put the outcome where the dashboard has a summary, if it is final."""
        for board in self._boards:
            self._send(board.logger, "the summary", board.summarize, timeline, last_step)

    def publish(self, outcome: Outcome, *, figures: bool) -> None:
        """Send files at the end, and figures where they are wanted."""
        for board in self._boards:
            shown = figures and self._send(board.logger, "a figure", board.publish_figures, outcome)
            kept = self._send(board.logger, "a file", board.publish_files, outcome)
            if shown and kept and outcome.is_final:
                self._outcome_steps[id(board)] = outcome.last_step
        self._look_up_targets()  # a run may have got another name

    def wandb_targets(self, *, before: int, read_bytes: int) -> tuple[WandbTarget, ...]:
        """The W&B runs among the loggers and how far each is supplied.

        Args:
            before: Optimizer step that an earlier start delivered.
            read_bytes: Bytes of records.jsonl that rows were made of.
        """
        return tuple(
            replace(
                target,
                step=self._steps.get(board, before),
                read_bytes=read_bytes,
                outcome_step=self._outcome_steps.get(board, -1),
            )
            for board, target in self._targets.items()
        )

    def _add(self, logger: LightningLogger) -> None:
        self._boards.append(board_of(logger))

    def _look_up_targets(self) -> None:
        for board in self._boards:
            self._send(board.logger, "a question", self._look_up_target, board)

    def _look_up_target(self, board: LoggerAdapter) -> None:
        target = board.target() if isinstance(board, WandbAdapter) else None
        if target is not None:
            self._targets[id(board)] = target

    def _send(self, logger: object, what: str, send: Callable[..., None], *content: object) -> bool:
        """Send; what fails costs that in that logger, and one warning. One that takes no results says so once for all."""
        try:
            send(*content)
        except Exception as err:  # whatever a dashboard's client raises; the results are in the run directory
            if not self._warned & {(id(logger), what), (id(logger), RESULT)}:
                warn(f"{type(logger).__name__} did not take {what} ({type(err).__name__}: {err}); training goes on")
            self._warned.add((id(logger), what))
            return False
        return True


def board_of(logger: LightningLogger) -> LoggerAdapter:
    """What is known of a logger of this kind."""
    kinds = (ADAPTERS[base.__name__] for base in type(logger).__mro__ if base.__name__ in ADAPTERS)
    return next(kinds, LoggerAdapter)(logger)
