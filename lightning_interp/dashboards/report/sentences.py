# SPDX-License-Identifier: Apache-2.0
"""What a run came to, in one sentence; and how far its analysis is."""

from collections.abc import Sequence

from lightning_interp.core.timeline import LossStage
from lightning_interp.dashboards.figures.labels import loss_unit
from lightning_interp.dashboards.run_view import RunView
from lightning_interp.measures.label import NATS
from lightning_interp.phases import SENTENCES

_STATUS = {
    "training": "in training",
    "finished": "training finished",
    "failed": "training failed",
    "interrupted": "training interrupted",
}


def verdict_sentence(run: RunView) -> str:
    """The verdict with the steps that decided; without one, or with a loss of its own kind, the shape of the loss."""
    timeline = run.timeline
    if timeline.verdict == "unknown":
        return _without_verdict(run)
    if loss_unit(run) != NATS and timeline.stages:
        return (
            f"{_shape(timeline.stages)} The loss has a unit of its own, and verdicts are made for cross-entropies: by their "
            f"rules, {timeline.verdict.replace('_', ' ')}."
        )
    sentence = SENTENCES.get(timeline.verdict, f"Verdict: {timeline.verdict.replace('_', ' ')}.")
    fitted, solved = timeline.evidence.get("t_mem"), timeline.evidence.get("t_gen")
    parts = [f"training data fitted from step {fitted:,}"] if isinstance(fitted, int) else []
    parts += [f"held-out data solved from step {solved:,}"] if isinstance(solved, int) else []
    return f"{sentence.rstrip('.')}; {', '.join(parts)}." if parts else sentence


def _without_verdict(run: RunView) -> str:
    if not run.series:
        return "Nothing has been recorded yet."
    stages = run.timeline.stages
    if not stages:
        return "There is no verdict (yet): without held-out data, or with too few points, nothing is said of generalization."
    return f"No verdict on generalization. {_shape(stages)}"


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
