# SPDX-License-Identifier: Apache-2.0
"""Weights & Biases: rows on a step axis of their own, alerts when phases change, the outcome in the summary."""

from typing import TYPE_CHECKING, Any

from lightning_interp.dashboards.feed import STEP_KEY, Row
from lightning_interp.timeline import Timeline

if TYPE_CHECKING:
    import wandb

_ALERT_WAIT_S = 0


def prepare(run: "wandb.Run") -> None:
    """Give our keys their own x-axis.

    Late rows are never dropped or moved: W&B orders its own step by arrival and WandbLogger adds the current
    ``trainer/global_step`` to every row, so ours carry the snapshot's step themselves.
    """
    run.define_metric(STEP_KEY, hidden=True)
    run.define_metric("interp/*", step_metric=STEP_KEY)


def log_row(run: "wandb.Run", row: Row) -> None:
    """Log one row in one call, without `step=`, which W&B would compare with its own counter."""
    run.log(row.metrics)


def alert(run: "wandb.Run", title: str, text: str) -> None:
    """Send an alert about a phase change."""
    run.alert(title=title, text=text, wait_duration=_ALERT_WAIT_S)


def summarize(run: "wandb.Run", timeline: Timeline) -> None:
    """Put verdict, boundaries and the grokking step into the run summary."""
    for name, value in summary_fields(timeline).items():
        run.summary[name] = value


def summary_fields(timeline: Timeline) -> dict[str, Any]:
    """Flat summary of a timeline: where each phase started and ended, in optimizer steps."""
    fields: dict[str, Any] = {"interp/verdict": timeline.verdict}
    for phase in timeline.phases:
        fields[f"interp/{phase.name}_start"] = phase.start
        if phase.end is not None:
            fields[f"interp/{phase.name}_end"] = phase.end
    if timeline.grokking_step is not None:
        fields["interp/grokking_step"] = timeline.grokking_step
    return fields
