# SPDX-License-Identifier: Apache-2.0
"""Results to whatever loggers the Trainer has, on the training thread, each row at its snapshot's own step."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

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
        for run in self._runs:
            wandb.prepare(run)

    def log(self, row: Row) -> None:
        """Log one row everywhere."""
        for run in self._runs:
            wandb.log_row(run, row)
        for logger in self._others:
            logger.log_metrics(row.metrics, step=row.step)

    def alert(self, title: str, text: str) -> None:
        """Send an alert where the dashboard has alerts."""
        for run in self._runs:
            wandb.alert(run, title, text)

    def summarize(self, timeline: Timeline) -> None:
        """Put the outcome where the dashboard has a summary."""
        for run in self._runs:
            wandb.summarize(run, timeline)


def _is_wandb(logger: object) -> bool:
    """By name, so that both Lightning namespaces count and neither is imported here."""
    return any(base.__name__ == "WandbLogger" for base in type(logger).__mro__)


def _wandb_run(logger: Any) -> Any:
    return logger.experiment
