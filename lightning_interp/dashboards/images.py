# SPDX-License-Identifier: Apache-2.0
"""Figures as images, all of them by one start of a browser, which asks for nothing on the network."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import plotly.graph_objects as go

WIDTH, SCALE = 1100, 1.5
TIMEOUT_S = 30.0
"""Longest that one image may take."""


class ImagesUnavailableError(Exception):
    """There is nothing here that makes images; the message says what to install."""


def png_images(figures: Sequence["go.Figure"]) -> list[bytes]:
    """PNG files of figures, each of its own height, without buttons.

    Raises:
        ImagesUnavailableError: There is no kaleido, or it finds no Chrome or Chromium.
    """
    return images(figures, kind="png", width=WIDTH, scale=SCALE)


def images(figures: Sequence["go.Figure"], *, kind: str, width: int, scale: float) -> list[bytes]:
    """Image files of figures, each of its own height, without buttons; `scale` pixels of the file for each of its width.

    Raises:
        ImagesUnavailableError: There is no kaleido, or it finds no Chrome or Chromium.
    """
    if not figures:
        return []
    if find_spec("kaleido") is None:
        raise ImagesUnavailableError("install `lightning-interp[dashboards]` and Chrome or Chromium for images")
    options = [{"format": kind, "width": width, "height": figure.layout.height, "scale": scale} for figure in figures]
    try:
        with _quiet_browser(), ThreadPoolExecutor(1) as apart:  # a notebook has a loop of its own in this thread
            return apart.submit(asyncio.run, _drawn([_still(figure) for figure in figures], options)).result()
    except Exception as err:  # kaleido and its browser raise errors of many kinds
        reason = (str(err).strip().splitlines() or [""])[0]
        raise ImagesUnavailableError(
            f"kaleido made no image ({type(err).__name__}: {reason}); install Chrome or Chromium"
        ) from err


async def _drawn(figures: Sequence[dict[str, object]], options: Sequence[dict[str, object]]) -> list[bytes]:
    """Without MathJax, which kaleido's page would fetch from the network."""
    import kaleido

    async with kaleido.Kaleido(n=1, timeout=TIMEOUT_S, mathjax=False) as browser:
        return [await browser.calc_fig(figure, opts=opts) for figure, opts in zip(figures, options, strict=True)]


def _still(figure: "go.Figure") -> dict[str, object]:
    """The figure as plain values, without its buttons."""
    import plotly.graph_objects as go

    still = go.Figure(figure)
    still.layout.updatemenus = ()
    plain: dict[str, object] = still.to_dict()
    return plain


@contextmanager
def _quiet_browser() -> Iterator[None]:
    """What kaleido's packages log as an error when their browser closes is none (choreographer 1.4)."""
    loggers = [logging.getLogger(name) for name in ("choreographer", "kaleido")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
