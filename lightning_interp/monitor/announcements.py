# SPDX-License-Identifier: Apache-2.0
"""What the monitor tells the user at the start and at the end of a training, as lines of text."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from lightning_interp.capture import Recorder, Schedule
from lightning_interp.capture.default_layers import ROLES
from lightning_interp.config.monitor_config import Resolved
from lightning_interp.monitor.training_context import TrainingContext
from lightning_interp.store.layout import MANIFEST

_MOST_COUNTED = 100_000
_ROLE_WORDS = {"block": "block output", "layer": "leaf"}


def plan_lines(
    resolved: Resolved, schedule: Schedule, training: TrainingContext, *, snapshot_bytes: int, max_disk: object
) -> list[str]:
    """What will be watched, when, and what it takes on disk."""
    request = resolved.request
    lines = [layers_line(request.layers, resolved.roles), f"{len(request.parameters)} parameters; {schedule!r}"]
    if training.max_steps is not None:
        lines.append(_disk_line(schedule, training.max_steps, snapshot_bytes, max_disk))
    lines += resolved.notes
    if training.heldout_data is None and not training.heldout_later and request.probe is None:
        why, remedy = training.no_heldout
        lines.append(f"{why}: phases end at memorization; {remedy}")
    return lines


def layers_line(layers: Sequence[str], roles: Mapping[str, str]) -> str:
    """The layers that are looked at, by their roles where those are known.

    >>> layers_line(("emb", "blocks.0", "blocks.1"), {"emb": "embedding", "blocks.0": "block", "blocks.1": "block"})
    'layers: embedding emb; block output blocks.0, blocks.1'
    """
    groups = {role: [layer for layer in layers if roles.get(layer) == role] for role in ROLES}
    told = [f"{_ROLE_WORDS.get(role, role)} {', '.join(group)}" for role, group in groups.items() if group]
    return f"layers: {'; '.join(told) if roles else ', '.join(layers) or 'none'}"


def waiting_line(reached: int, last_step: int, queue: str = "") -> str:
    """How far the analysis is while the end of the training waits for it; `queue` says whom it waits for itself.

    >>> waiting_line(40, 2000, "waits for 1 other analyzer of yours (pid 41)")
    'waiting for the analysis: at step 40 of 2,000; it waits for 1 other analyzer of yours (pid 41)'
    """
    begun = "in the queue" if queue else "starting"
    where = f"at step {reached:,} of {last_step:,}" if reached >= 0 else begun
    return f"waiting for the analysis: {where}{f'; it {queue}' if queue else ''}"


def changed_line(captured: int, step: int) -> str:
    """Why the last step has no snapshot."""
    return (
        f"the last snapshot is that of step {captured:,}: after the last step, {step:,}, other weights were put into the "
        "module (averaged or merged ones?) before they could be copied"
    )


def finish_words(run_dir: Path) -> str:
    """How an analysis that has not finished can be finished."""
    if not (run_dir / MANIFEST).exists():
        return f"{run_dir} is gone, and with it every snapshot so far"
    return f"snapshots are kept, finish the analysis with `lightning-interp analyze {run_dir} --module pkg.mod:build`"


def failed_words(run_dir: Path, failure: str, reached: int | None) -> str:
    """What became of an analyzer that failed, how far it got, and how its work can be finished.

    Args:
        run_dir: Run directory.
        failure: How it ended.
        reached: Last step that it analyzed, None for none.
    """
    far = "no step is analyzed" if reached is None else f"the last step analyzed is {reached:,}"
    return f"{failure}; {far}; {finish_words(run_dir)}"


def left_words(run_dir: Path, *, to_sync: bool, queue: str = "") -> str:
    """How an analysis that outlives its training is followed, and sent to W&B if there is a run for it.

    Args:
        run_dir: Run directory.
        to_sync: Whether there is a W&B run for it.
        queue: Whom the analyzer waits for, in words; empty for nobody.
    """
    sync = f"; `lightning-interp sync {run_dir}` sends its late rows and the verdict to W&B" if to_sync else ""
    status = f"`lightning-interp status {run_dir}` shows"
    if queue:
        return f"the analysis goes on in the background when its turn comes: it {queue}; {status} when it goes on{sync}"
    return f"the analysis goes on in the background; {status} it{sync}"


def result_line(recorder: Recorder, *, cost: str, after_s: float | None) -> str:
    """What was captured and what it cost; `after_s` is None if the analyzer has not finished."""
    written = f"monitor: {recorder.written:,} snapshots, {cost}"
    analyzer = "analyzer unfinished" if after_s is None else f"analyzer finished {after_s:.0f} s after training"
    dropped = f", {len(recorder.dropped)} dropped" if recorder.dropped else ""
    return f"{written}, {analyzer}, {size_text(recorder.bytes_written)}{dropped}"


def size_text(count: int) -> str:
    """Bytes for people, in powers of ten.

    >>> size_text(1_234_000_000)
    '1.2 GB'
    """
    for unit, scale in (("GB", 10**9), ("MB", 10**6)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"


def _disk_line(schedule: Schedule, max_steps: int, snapshot_bytes: int, max_disk: object) -> str:
    count = 1 + sum(1 for _ in islice(schedule.steps_until(max_steps - 1), _MOST_COUNTED))
    most = "at most" if count <= _MOST_COUNTED else "more than"
    cap = f" (max_disk {max_disk})" if max_disk is not None else ""
    return f"{most} {count:,} snapshots of {size_text(snapshot_bytes)} = {size_text(count * snapshot_bytes)} on disk{cap}"
