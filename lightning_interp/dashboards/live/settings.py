# SPDX-License-Identifier: Apache-2.0
"""What a reader chose on the page. It comes over the network: whatever is not one of the choices becomes the default."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightning_interp.dashboards.figures import SECTIONS


@dataclass(frozen=True)
class Choice:
    """One control with a few choices.

    Attributes:
        key: Its name in ids.
        label: What it is called.
        options: Value and label of each choice, the default first.
    """

    key: str
    label: str
    options: tuple[tuple[str, str], ...]

    def of(self, value: object) -> str:
        """The value where it is one of the choices, else the default."""
        known = [key for key, _ in self.options]
        return value if isinstance(value, str) and value in known else known[0]


SECTION = Choice("section", "Section", SECTIONS)
FOLLOW = Choice("follow", "Updates", (("on", "follow"), ("off", "pause")))
TIME = Choice("time", "Time", (("log", "log"), ("linear", "linear")))
VALUES = Choice("values", "Values", (("log", "log"), ("linear", "linear")))
THEME = Choice("theme", "Theme", (("auto", "auto"), ("light", "light"), ("dark", "dark")))
CONTROLS = (FOLLOW, TIME, VALUES, THEME)

MOST_PICKED = 8
"""Runs beside each other; more are a comparison, not a page to watch."""


@dataclass(frozen=True)
class Settings:
    """What a reader chose.

    Attributes:
        section: Section in view.
        time: Scale of time axes, ``log`` or ``linear``.
        values: Scale of value axes that can be logarithmic.
        theme: ``light`` or ``dark``, as it comes out.
        narrow: Whether the window is narrow.
        picked: Keys of runs, None where the reader has not picked any yet.
    """

    section: str = SECTION.of(None)
    time: str = TIME.of(None)
    values: str = VALUES.of(None)
    theme: str = "light"
    narrow: bool = False
    picked: tuple[str, ...] | None = None


def settings_from(section: object, time: object, values: object, around: object, picked: object) -> Settings:
    """Settings from what a browser sent: choices of three controls, its theme and width in `around`, and keys of runs."""
    window: Mapping[str, Any] = around if isinstance(around, dict) else {}
    keys = tuple(key for key in picked if isinstance(key, str))[:MOST_PICKED] if isinstance(picked, list) else None
    return Settings(
        section=SECTION.of(section),
        time=TIME.of(time),
        values=VALUES.of(values),
        theme="dark" if window.get("theme") == "dark" else "light",
        narrow=window.get("narrow") is True,
        picked=keys,
    )
