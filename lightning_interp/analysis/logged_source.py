# SPDX-License-Identifier: Apache-2.0
"""The last way to curves: where no loss can be computed on the probe, what the training logged goes into the records."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lightning_interp.analysis.measuring import Measured
from lightning_interp.analysis.record_history import RecordHistory
from lightning_interp.core.logged_curves import CURVES, step_record, value_record
from lightning_interp.core.records import Record, Snapshot
from lightning_interp.core.series import Series
from lightning_interp.measures.logged_losses import LoggedValue, logged_losses
from lightning_interp.store.analysis_state import AnalysisState
from lightning_interp.store.health_log import read_health, valid_events
from lightning_interp.store.manifest import Manifest
from lightning_interp.store.surviving_records import NOT_FINITE

FOLLOWED = "phases follow what the training logs"
"""In the notice that says so; it goes once outputs are there."""


def add_logged(snapshot: Snapshot, history: Series, measured: Measured, state: AnalysisState) -> None:
    """Add losses and accuracies that the training logged since the snapshot before, unless the probe gives outputs.

    Args:
        snapshot: The snapshot, of which only what was logged is looked at.
        history: Series of earlier records.
        measured: What was measured, to add to.
        state: How outputs are found; learns what curves are logged as, and tells the user.
    """
    if state.route is not None and not _way_broke(history, measured):
        return
    for found in logged_losses(snapshot.scalars, epoch=snapshot.epoch, followed=state.logged_as):
        told = history.get(step_record(found.curve))
        if told is not None and found.step <= told[1][-1]:
            continue  # carried on from a validation that counted before
        name = value_record(found.curve)
        measured.values[step_record(found.curve)] = float(found.step)
        if math.isfinite(found.value):
            measured.values[name] = found.value
        else:
            measured.skipped[name] = f"{NOT_FINITE} ({found.value})"
        _tell(found, state)


def _way_broke(history: Series, measured: Measured) -> bool:
    """Whether a way to the loss that worked on the first batch has never given a loss of the probe, and does not now."""
    reason = measured.skipped.get("train_loss", NOT_FINITE)
    return NOT_FINITE not in reason and not any(curve in history or curve in measured.values for curve in CURVES)


def with_late_values(run_dir: Path, manifest: Manifest, folded: RecordHistory, state: AnalysisState) -> list[Record]:
    """Records of last snapshots, each with what its training logged after it: a validation that ended the training.

    Args:
        run_dir: Run directory.
        manifest: Its run.json.
        folded: The records that stand.
        state: As for `add_logged`.

    Returns:
        Records to append in place of those of their steps; none where they have it already.
    """
    found = []
    late = valid_events(read_health(run_dir)[0], "logged", manifest.resumed_steps)
    for step, row in late.items():
        record = folded.record(step)
        if record is None or not isinstance(row.get("scalars"), Mapping):
            continue
        scalars = {str(name): value for name, value in row["scalars"].items() if isinstance(value, int | float)}
        measured = Measured(values=dict(record.values), skipped=dict(record.skipped))
        add_logged(Snapshot(step, 0, {}, scalars), folded.history(step + 1), measured, state)
        if measured.values != record.values:
            found.append(replace(record, values=measured.values))
    return found


def _tell(found: LoggedValue, state: AnalysisState) -> None:
    """One line on all that is followed, when something new is, and one where there was a choice."""
    if state.logged_as.get(found.curve) == found.logged_as:
        return
    state.logged_as[found.curve] = found.logged_as
    words = ", ".join(logged.words(curve) for curve, logged in state.logged_as.items())
    state.drop(FOLLOWED)
    state.notice(f"no loss is computed on the probe: {FOLLOWED}: {words}")
    if found.passed_over:
        others = ", ".join(f"`{name}`" for name in found.passed_over)
        state.notice(f"`{found.logged_as.name}` is followed, the first logged; not {others}")
