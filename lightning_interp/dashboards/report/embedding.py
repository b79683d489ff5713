# SPDX-License-Identifier: Apache-2.0
"""Scripts and figures inside a static page: what a browser may run is known by its hash, and figures are data."""

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio
from plotly.offline import get_plotlyjs

_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def figure_json(figure: go.Figure) -> str:
    """A figure as JSON that can stand in a script element; its template is left out, since the page chooses one."""
    bare = figure.layout.template
    figure.layout.template = None
    text = pio.to_json(figure, validate=False, engine="json")
    figure.layout.template = bare
    return escaped(text)


def plain_json(value: Any) -> str:
    """A plain value as JSON that can stand in a script element."""
    return escaped(json.dumps(value, allow_nan=False, separators=(",", ":")))


def escaped(text: str) -> str:
    """JSON without characters that could end the element it stands in."""
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return text


@cache
def plotly_script() -> str:
    """The source of plotly.js."""
    return str(get_plotlyjs())


@cache
def asset(name: str) -> str:
    """A file beside the templates."""
    return (files("lightning_interp.dashboards.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def policy() -> str:
    """Content-Security-Policy of the page: exactly our two scripts, no network, no frames, no forms."""
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in (plotly_script(), asset("report.js")))
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
