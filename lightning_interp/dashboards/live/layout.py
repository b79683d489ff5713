# SPDX-License-Identifier: Apache-2.0
"""The page before anything is in it: its landmarks, controls and stores."""

from typing import Any

from dash import dcc, html

from lightning_interp.dashboards.live.aria import aria
from lightning_interp.dashboards.live.settings import CONTROLS, SECTION, Choice
from lightning_interp.dashboards.theme import INKS, Ink

TITLE = "Runs · lightning-interp"

_INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
{%metas%}
<title>{%title%}</title>
{%favicon%}
<style>COLORS</style>
{%css%}
</head>
<body>
<a class="skip" href="#content">Skip to the figures</a>
<noscript>This page draws with JavaScript, which is switched off.</noscript>
{%app_entry%}
<div hidden>{%config%}{%scripts%}{%renderer%}</div>
</body>
</html>
"""


def index_page() -> str:
    """The page that Dash fills in, with the colors of the figures."""
    light, dark = _variables(INKS["light"]), _variables(INKS["dark"])
    colors = (
        f":root {{ color-scheme: light; {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ color-scheme: dark; {dark} }} }}\n"
        f":root[data-theme=light] {{ color-scheme: light; {light} }}\n"
        f":root[data-theme=dark] {{ color-scheme: dark; {dark} }}\n"
    )
    return _INDEX.replace("COLORS", colors)


def page(interval_s: float) -> html.Div:
    """Everything that stays on the page, which looks at the runs every `interval_s` seconds."""
    return html.Div(
        [
            html.Header(
                [html.H1("Training runs"), html.Div([_buttons(choice) for choice in CONTROLS], className="controls")],
                className="top",
            ),
            html.P(
                "The server does not answer: what is shown may be old.",
                id="silent",
                className="problem",
                hidden=True,
                role="alert",
                **_patience(interval_s),
            ),
            html.P(id="said", className="said", role="status", **aria(live="polite")),
            html.Div(id="choices", className="choices", role="group", **aria(label="Runs in view")),
            html.Div(id="heads", className="heads"),
            _tabs(),
            html.Main(
                html.P("Reading the runs…", className="state"),
                id="content",
                role="tabpanel",
                tabIndex="-1",
                **aria(label="Figures of the section"),
            ),
            dcc.Interval(id="tick", interval=int(1000 * interval_s)),
            *(dcc.Store(id=chosen(choice), data=choice.of(None), storage_type="local") for choice in CONTROLS[1:]),
            *(dcc.Store(id=chosen(choice), data=choice.of(None)) for choice in (CONTROLS[0], SECTION)),
            *(dcc.Store(id=name) for name in ("around", "picked", "sent", "shown")),
        ],
        className="page",
    )


def chosen(choice: Choice) -> dict[str, str]:
    """Id of the store with the value of a control."""
    return {"type": "chosen", "control": choice.key}


def _buttons(choice: Choice) -> html.Div:
    buttons = [_button(choice, value, label) for value, label in choice.options]
    label = html.Span(choice.label, id=f"label-{choice.key}", className="control-label")
    return html.Div([label, *buttons], className="control", role="group", **aria(labelledby=f"label-{choice.key}"))


def _button(choice: Choice, value: str, label: str) -> html.Button:
    pressed = "true" if value == choice.of(None) else "false"
    place = {"type": "choice", "control": choice.key, "value": value}
    return html.Button(label, id=place, type="button", className="choice", **aria(pressed=pressed))


def _tabs() -> html.Div:
    return html.Div(
        [_tab(value, label) for value, label in SECTION.options],
        className="sections",
        role="tablist",
        **aria(label="Sections"),
    )


def _tab(value: str, label: str) -> html.Button:
    first = value == SECTION.of(None)
    place = {"type": "choice", "control": SECTION.key, "value": value}
    selected = aria(selected="true" if first else "false", controls="content")
    stop = "0" if first else "-1"
    return html.Button(label, id=place, type="button", role="tab", className="section-tab", tabIndex=stop, **selected)


def _patience(interval_s: float) -> dict[str, Any]:
    """How long the server may be silent before the page says so."""
    return {"data-patience-ms": str(int(1000 * max(10.0, 4 * interval_s)))}


def _variables(ink: Ink) -> str:
    return " ".join(f"--{name}: {color};" for name, color in vars(ink).items())
