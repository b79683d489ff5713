# SPDX-License-Identifier: Apache-2.0
"""What a run came to, in one sentence; and how far its analysis is."""

from collections.abc import Sequence

from lightning_interp.core.timeline import LossStage
from lightning_interp.dashboards.run_view import RunView
from lightning_interp.phases.verdict_state import PLAIN_REASON, said_in_state
from lightning_interp.phases.wording import asks_for_null

_STATUS = {
    "training": "in training",
    "finished": "training finished",
    "failed": "training failed",
    "interrupted": "training interrupted",
}


def verdict_sentence(run: RunView) -> str:
    """Why the verdict is what it is, in the state it is in; with the shape of the loss if it is none, or doubtful."""
    return said_in_state(_plain_sentence(run), run.timeline)


def _plain_sentence(run: RunView) -> str:
    if not run.series:
        return "Nothing has been recorded yet."
    timeline = run.timeline
    told = timeline.evidence.get(PLAIN_REASON) or timeline.evidence.get("reason")
    reason = str(told or f"Verdict: {timeline.verdict.replace('_', ' ')}.")
    shown = timeline.verdict == "unknown" or asks_for_null(timeline.evidence)
    return f"{reason} {_shape(timeline.stages)}" if shown and timeline.stages else reason


def _shape(stages: Sequence[LossStage]) -> str:
    parts = (f"{stage.name.replace('_', ' ')} from step {stage.start:,}" for stage in stages)
    return f"Shape of the curve: {', then '.join(parts)}."


def snapshots_to_go(run: RunView) -> int:
    """Snapshots without a record, and those that the analyzer wants to measure once more."""
    pending, (done, of) = run.analysis.get("pending"), run.timeline.analyzed or (0, 0)
    return max(pending if isinstance(pending, int) else 0, of - done)


def status_words(run: RunView) -> str:
    """Where training and analysis stand."""
    words = [] if run.manifest is None else [_STATUS.get(run.manifest.status, run.manifest.status)]
    waiting, stage = snapshots_to_go(run), run.analysis.get("stage")
    if waiting:
        words.append(f"{waiting:,} snapshots not analyzed yet")
    elif stage in ("failed", "stopped"):
        words.append(f"analysis {stage}")
    if run.series:
        words.append(f"recorded to step {run.last_step:,}")
    return ", ".join(words)
