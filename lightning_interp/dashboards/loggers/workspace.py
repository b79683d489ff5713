# SPDX-License-Identifier: Apache-2.0
"""A ready-made W&B workspace view: scalars in sections over log time, figures beside them (extra `workspace`)."""

import inspect
import json
import re
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from lightning_interp.core.errors import ConfigError, InterpError
from lightning_interp.core.tca_settings import PREFIX as COMPONENT_PREFIX
from lightning_interp.dashboards.loggers.outcome import BOUND_KEY, FIGURE_PREFIX, VERDICT_KEY
from lightning_interp.dashboards.loggers.sections import known_names, sections_of
from lightning_interp.dashboards.loggers.wandb import TIMELINE_KEY
from lightning_interp.measures.logged_names import COMPONENTS, STEP_KEY, logged_name

FIGURES = ("losses", "timeline", "trajectory", "progress", "weights", "sparsity", "settings", "health")
"""Keys of the figures that are shown; of a run without such a figure the panel is empty."""
_COLUMNS = 2


def build_workspace(entity: str, project: str, *, name: str) -> Any:
    """The view as a `wandb_workspaces.workspaces.Workspace`, not saved yet. Needs neither network nor key.

    Raises:
        ConfigError: wandb-workspaces is not installed, or refuses the name.
    """
    if find_spec("wandb_workspaces") is None:
        install = "Install it with `pip install 'lightning-interp[workspace]'`."
        raise ConfigError(f"wandb-workspace: the package wandb-workspaces is not there. {install}")
    ws, expr = _module("workspaces"), _module("expr")
    runs = ws.RunsetSettings(
        groupby=[expr.Summary(VERDICT_KEY)],
        order=[expr.Ordering(expr.Summary(BOUND_KEY), ascending=True)],
        pinned_columns=[f"summary:{VERDICT_KEY}", f"summary:{BOUND_KEY}"],
    )
    try:
        return ws.Workspace(
            entity=entity,
            project=project,
            name=name,
            sections=[*_scalars(), _components(), _figures()],
            settings=ws.WorkspaceSettings(x_axis=STEP_KEY, smoothing_type="none", smoothing_weight=0),
            runset_settings=runs,
        )
    except ValueError as err:  # pydantic's
        reason = f"W&B refuses the view {name!r} ({_first_line(err)})"
        raise ConfigError(f"wandb-workspace: {reason}. Choose another name.") from err


def workspace_json(workspace: Any) -> dict[str, Any]:
    """The view as W&B stores it."""
    return dict(json.loads(workspace._to_model().model_dump_json(by_alias=True, exclude_none=True)))


def has_key() -> bool:
    """Whether W&B knows how to log in here; asks nobody."""
    import wandb

    login: Any = wandb.login
    if "prompt" in inspect.signature(login).parameters:
        return bool(login(prompt=False, verify=False))
    return bool(wandb.api.api_key)  # until wandb 0.30


def save_workspace(workspace: Any) -> str:
    """Save the view in W&B; returns its address.

    Raises:
        InterpError: W&B cannot be reached, or refuses it.
    """
    try:
        return str(workspace.save().url)
    except Exception as err:  # W&B's own errors have no common base
        place = f"{workspace.entity}/{workspace.project}"
        raise InterpError(f"{place}: W&B did not save the view ({type(err).__name__}: {_first_line(err)}).") from err


def _scalars() -> list[Any]:
    """Sections of line plots: the x axis is logarithmic, nothing is smoothed, and runs are not averaged."""
    return [
        _section(title, [_plot(chart, y=[logged_name(name) for name in curves]) for chart, curves in charts.items()])
        for title, charts in ((each.title, each.charts) for each in sections_of(known_names(), by_subject=True))
    ]


def _components() -> Any:
    """Loadings of components, whose names are those of the layers: one plot for them all."""
    pattern = f"^{re.escape(logged_name(COMPONENT_PREFIX))}.*"
    return _section(COMPONENTS, [_plot("loadings of components", metric_regex=pattern)])


def _figures() -> Any:
    browser = _module("reports.v2").MediaBrowser
    shown = {"timeline so far": TIMELINE_KEY, **{key: FIGURE_PREFIX + key for key in FIGURES}}
    return _section("figures", [browser(title=title, media_keys=[key], num_columns=1) for title, key in shown.items()])


def _plot(title: str, **what: Any) -> Any:
    line_plot = _module("reports.v2").LinePlot
    plain = {"smoothing_type": "none", "smoothing_factor": 0}
    return line_plot(title=title, x=STEP_KEY, log_x=True, title_x="optimizer step", **plain, **what)


def _section(title: str, panels: Sequence[Any]) -> Any:
    ws = _module("workspaces")
    settings: Any = ws.SectionPanelSettings

    class EachRun(settings):  # type: ignore[misc]
        """Every run has its own line: the mean over runs of one verdict would be the course of none of them."""

        def _to_model(self) -> Any:
            model = super()._to_model()
            model.use_runs_table_grouping_in_panels = False
            return model

    return ws.Section(
        name=title,
        panels=list(panels),
        is_open=True,
        layout_settings=ws.SectionLayoutSettings(columns=_COLUMNS, rows=-(-len(panels) // _COLUMNS)),
        panel_settings=EachRun(x_axis=STEP_KEY, smoothing_type="none", smoothing_weight=0),
    )


def _module(name: str) -> Any:
    return import_module(f"wandb_workspaces.{name}")


def _first_line(err: Exception) -> str:
    return (str(err).strip().splitlines() or ["no reason given"])[0]
