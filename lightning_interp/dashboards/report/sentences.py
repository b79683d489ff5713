# SPDX-License-Identifier: Apache-2.0
"""What a run came to, in one sentence; and how far its analysis is."""

from collections.abc import Sequence

from lightning_interp.core.timeline import LossStage
from lightning_interp.dashboards.run_view import RunView

_STATUS = {
    "training": "in training",
    "finished": "training finished",
    "failed": "training failed",
    "interrupted": "training interrupted",
}


def verdict_sentence(run: RunView) -> str:
    """Why the verdict is what it is; without any, the shape of the loss."""
    if not run.series:
        return "Nothing has been recorded yet."
    timeline = run.timeline
    reason = str(timeline.evidence.get("reason", f"Verdict: {timeline.verdict.replace('_', ' ')}."))
    return f"{reason} {_shape(timeline.stages)}" if timeline.verdict == "unknown" and timeline.stages else reason


def _shape(stages: Sequence[LossStage]) -> str:
    parts = (f"{stage.name.replace('_', ' ')} from step {stage.start:,}" for stage in stages)
    return f"Shape of the curve: {', then '.join(parts)}."


def status_words(run: RunView) -> str:
    """Where training and analysis stand."""
    words = [] if run.manifest is None else [_STATUS.get(run.manifest.status, run.manifest.status)]
    pending, stage = run.analysis.get("pending"), run.analysis.get("stage")
    if isinstance(pending, int) and pending > 0:
        words.append(f"{pending:,} snapshots not analyzed yet")
    elif stage in ("failed", "stopped"):
        words.append(f"analysis {stage}")
    if run.series:
        words.append(f"recorded to step {run.last_step:,}")
    return ", ".join(words)
