# SPDX-License-Identifier: Apache-2.0
"""Results to whatever loggers the Trainer has, on the training thread, each row at its snapshot's own step."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from lightning_interp.console import warn
from lightning_interp.dashboards import wandb
from lightning_interp.dashboards.feed import Row
from lightning_interp.timeline import Timeline


@runtime_checkable
class LightningLogger(Protocol):
    """The part of a Lightning logger that is used."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log numbers at a step."""
        ...


class LoggerSet:
    """The loggers of one training.

    Args:
        loggers: `trainer.loggers`; may be empty.
    """

    def __init__(self, loggers: Sequence[LightningLogger]) -> None:
        self._runs = [_wandb_run(logger) for logger in loggers if _is_wandb(logger)]
        self._others = [logger for logger in loggers if not _is_wandb(logger)]
        self._failing: set[int] = set()
        for run in self._runs:
            self._send(run, wandb.prepare, run)

    def log(self, row: Row) -> None:
        """Log one row everywhere."""
        for run in self._runs:
            self._send(run, wandb.log_row, run, row)
        for logger in self._others:
            self._send(logger, logger.log_metrics, row.metrics, row.step)

    def alert(self, title: str, text: str) -> None:
        """Send an alert where the dashboard has alerts."""
        for run in self._runs:
            self._send(run, wandb.alert, run, title, text)

    def summarize(self, timeline: Timeline) -> None:
        """Put the outcome where the dashboard has a summary."""
        for run in self._runs:
            self._send(run, wandb.summarize, run, timeline)

    def _send(self, target: object, send: Callable[..., None], *content: object) -> None:
        """Send; a logger that fails costs that row in that logger, and one warning."""
        try:
            send(*content)
        except Exception as err:  # whatever a dashboard's client raises; the results are in the run directory
            if id(target) not in self._failing:
                self._failing.add(id(target))
                warn(f"{type(target).__name__} did not take a result ({type(err).__name__}: {err}); training goes on")


def _is_wandb(logger: object) -> bool:
    """By name, so that both Lightning namespaces count and neither is imported here."""
    return any(base.__name__ == "WandbLogger" for base in type(logger).__mro__)


def _wandb_run(logger: Any) -> Any:
    return logger.experiment
