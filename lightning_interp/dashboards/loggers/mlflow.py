# SPDX-License-Identifier: Apache-2.0
"""MLflow: metrics without gaps, the outcome as tags, report and phases as artifacts."""

import math
import re

from lightning_interp.core.timeline import Timeline
from lightning_interp.dashboards.loggers.logger_adapter import LoggerAdapter
from lightning_interp.dashboards.loggers.outcome import Outcome, summary_fields
from lightning_interp.dashboards.loggers.rows import Row
from lightning_interp.store.layout import PHASES

FOLDER = "interp"
"""Where the artifacts are."""
_NO_NAME = re.compile(r"[^\w/. -]", re.ASCII)


class MLflowAdapter(LoggerAdapter):
    """An MLFlowLogger."""

    def log(self, row: Row) -> None:
        """Log what the row has: a NaN becomes a 0 that is marked as none in MLflow, and is drawn."""
        metrics = {metric_name(key): value for key, value in row.metrics.items() if math.isfinite(value)}
        self.logger.log_metrics(metrics, row.step)

    def summarize(self, timeline: Timeline, last_step: int) -> None:
        """Verdict, boundaries, steps of early warning and grokking as tags ``interp.<name>``, once final."""
        for name, value in summary_fields(timeline, last_step).items():
            self.logger.experiment.set_tag(self.logger.run_id, name.replace("/", "."), value)

    def publish_files(self, outcome: Outcome) -> None:
        """Report and phases, in the folder ``interp``."""
        wanted = {PHASES} if outcome.report is None else {PHASES, outcome.report.name}
        for name, path in outcome.files():
            if name in wanted:
                self.logger.experiment.log_artifact(self.logger.run_id, str(path), FOLDER)


def metric_name(key: str) -> str:
    """A name MLflow takes: letters, digits, ``_ - . /`` and space.

    >>> metric_name("interp/component/act#1/0")
    'interp/component/act_1/0'
    """
    return _NO_NAME.sub("_", key)
