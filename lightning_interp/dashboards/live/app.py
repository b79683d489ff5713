# SPDX-License-Identifier: Apache-2.0
"""The page as a Dash app: one callback looks at the runs; what only concerns the browser stays in it (assets/live.js)."""

from collections.abc import Iterable
from typing import Any

import dash
from dash import ALL, ClientsideFunction, Input, Output, State

from lightning_interp.dashboards.live.known_runs import KnownRuns
from lightning_interp.dashboards.live.layout import TITLE, chosen, index_page, page
from lightning_interp.dashboards.live.security import protect
from lightning_interp.dashboards.live.settings import CONTROLS, FOLLOW, SECTION, THEME, TIME, VALUES, settings_from
from lightning_interp.dashboards.live.updates import Updates

_HOOKS: Any = {"request_post": "function () { window.dash_clientside.live.answered(); }"}


def make_app(runs: KnownRuns, *, interval_s: float, hosts: Iterable[str]) -> dash.Dash:
    """The page of some runs, looked at every `interval_s` seconds, for requests to `hosts`."""
    app = dash.Dash(
        __name__,
        title=TITLE,
        update_title="",
        index_string=index_page(),
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
        serve_locally=True,
        suppress_callback_exceptions=True,
        add_log_handler=False,
        enable_mcp=False,
        hooks=_HOOKS,
    )
    app.layout = page(interval_s)
    _add_updates(app, Updates(runs))
    _add_controls(app)
    protect(app, hosts)
    return app


def _add_updates(app: dash.Dash, updates: Updates) -> None:
    @app.callback(
        Output("choices", "children"),
        Output("heads", "children"),
        Output("said", "children"),
        Output("content", "children"),
        Output("sent", "data"),
        Output("shown", "data"),
        Input("tick", "n_intervals"),
        Input(chosen(SECTION), "data"),
        Input(chosen(TIME), "data"),
        Input(chosen(VALUES), "data"),
        Input("around", "data"),
        Input("picked", "data"),
        State("shown", "data"),
        running=[(Output("tick", "disabled"), True, False)],  # the next look begins after this one has ended
    )
    def update(_tick: Any, section: Any, time: Any, values: Any, around: Any, picked: Any, shown: Any) -> tuple[Any, ...]:
        found = updates.since(shown, settings_from(section, time, values, around, picked))
        figures = [{"id": place, "figure": figure} for place, figure in found.figures] or None
        parts = (found.choices, found.heads, found.said, found.body, figures, found.shown if found.shown != shown else None)
        return tuple(dash.no_update if part is None else part for part in parts)


def _add_controls(app: Any) -> None:
    """Controls live in the browser: a click sets a store, and a store how its buttons look."""
    for choice in (*CONTROLS, SECTION):
        buttons = {"type": "choice", "control": choice.key, "value": ALL}
        pressed = "aria-selected" if choice is SECTION else "aria-pressed"
        app.clientside_callback(
            ClientsideFunction("live", "choose"),
            Output(chosen(choice), "data"),
            Input(buttons, "n_clicks"),
            prevent_initial_call=True,
        )
        app.clientside_callback(
            ClientsideFunction("live", "press"),
            Output(buttons, pressed),
            Input(chosen(choice), "data"),
            State(buttons, "id"),
        )
    app.clientside_callback(ClientsideFunction("live", "around"), Output("around", "data"), Input(chosen(THEME), "data"))
    app.clientside_callback(
        ClientsideFunction("live", "pause"), Output("tick", "max_intervals"), Input(chosen(FOLLOW), "data")
    )
    app.clientside_callback(ClientsideFunction("live", "redraw"), Input("sent", "data"), prevent_initial_call=True)
    picks = {"type": "pick", "run": ALL}
    app.clientside_callback(
        ClientsideFunction("live", "pick"),
        Output(picks, "aria-checked"),
        Output("picked", "data"),
        Input(picks, "n_clicks"),
        State(picks, "id"),
        State(picks, "aria-checked"),
        prevent_initial_call=True,
    )
