# SPDX-License-Identifier: Apache-2.0
"""Several runs in one figure: their curves, their phases, and the curves again with phases laid over each other."""

from collections.abc import Sequence

import plotly.graph_objects as go

from lightning_interp.dashboards.figures.comparison import RunCurves, runs_figure
from lightning_interp.dashboards.figures.labels import loss_unit
from lightning_interp.dashboards.run_view import RunView
from lightning_interp.phases.alignment import align
from lightning_interp.phases.run_series import CURVES


def overlay_figure(runs: Sequence[RunView]) -> go.Figure:
    """Two or more runs; phase time is in the steps of the first."""
    names = _told_apart([run.name for run in runs])
    curves = [_curves(run, name, runs[0]) for run, name in zip(runs, names, strict=True)]
    return runs_figure(curves)


def _curves(run: RunView, name: str, reference: RunView) -> RunCurves:
    series, unit = {key: run.series[key] for key in CURVES if key in run.series}, loss_unit(run)
    if run is reference:
        mapped = {key: [float(step) for step in steps] for key, (steps, _) in series.items()}
        return RunCurves(name, run.timeline.phases, series, mapped, unit)
    alignment = align(reference.timeline.phases, run.timeline.phases)
    if alignment.reason is not None:
        return RunCurves(name, run.timeline.phases, series, unit=unit)
    times = {key: [alignment.phase_time(step) or 0.0 for step in steps] for key, (steps, _) in series.items()}
    return RunCurves(name, run.timeline.phases, series, times, unit)


def _told_apart(names: Sequence[str]) -> list[str]:
    """Names with a number where one comes twice."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found
