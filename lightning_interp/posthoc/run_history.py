# SPDX-License-Identifier: Apache-2.0
"""The records of a run directory as a history: what `phases` judges of a run, where it judges columns of other files."""

from collections.abc import Mapping
from pathlib import Path

from lightning_interp.core.errors import MetricsError
from lightning_interp.core.logged_curves import CURVES, NAMES
from lightning_interp.core.outcome import OUTCOME, OUTCOME_STEP
from lightning_interp.core.series import series_of
from lightning_interp.sources.metrics.columns import meaning_of
from lightning_interp.sources.metrics.history import MetricsHistory
from lightning_interp.sources.metrics.refusals import no_curve
from lightning_interp.store.layout import RECORDS
from lightning_interp.store.recordlog import read_rows
from lightning_interp.store.surviving_records import valid_rows, with_non_finite

_BESIDE = frozenset({OUTCOME, OUTCOME_STEP, *NAMES})
"""Records that are judged only if the run was asked to, or logs no other curve."""


def read_run_history(run_dir: Path, resumed: Mapping[int, int]) -> MetricsHistory:
    """Records that stand, as series by name. A line that cannot be read is named and costs only its own step.

    Args:
        run_dir: Run directory.
        resumed: Step that each later start of the training continued from, by its number.

    Raises:
        MetricsError: No record has a curve that can be judged.
        RunError: The file cannot be read.
    """
    path = run_dir / RECORDS
    rows, _ = read_rows(run_dir)
    kept = valid_rows(((row["step"], row["attempt"], row) for row in rows), resumed)
    if not kept:
        raise MetricsError(f"{path}: holds no records yet. Finish the analysis first: lightning-interp analyze {run_dir}")
    found = series_of((step, with_non_finite(row["values"], row.get("skipped", {}))) for step, row in kept.items())
    series = {name: points for name, points in found.items() if name in _BESIDE or _is_judged(name)}
    unused = tuple(name for name in found if name not in series)
    if not any(name.partition("/")[0] in CURVES or name in _BESIDE for name in series):
        raise no_curve(path, list(found))
    return MetricsHistory(series, {name: name for name in series}, unused, path)


def _is_judged(name: str) -> bool:
    meaning = meaning_of(name)
    return meaning is not None and meaning.name == name
