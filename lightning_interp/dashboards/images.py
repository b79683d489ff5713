# SPDX-License-Identifier: Apache-2.0
"""Figures as images, for dashboards that take nothing else: all of them by one start of the browser."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import plotly.graph_objects as go

WIDTH, SCALE = 1100, 1.5


class ImagesUnavailableError(Exception):
    """There is nothing here that makes images; the message says what to install."""


def png_images(figures: Sequence["go.Figure"]) -> list[bytes]:
    """PNG files of figures, each of its own height, without buttons.

    Args:
        figures: Figures with a height.

    Raises:
        ImagesUnavailableError: There is no kaleido, or it finds no Chrome or Chromium.
    """
    if not figures:
        return []
    if find_spec("kaleido") is None:
        raise ImagesUnavailableError("install `lightning-interp[dashboards]` and Chrome or Chromium for images")
    import plotly.graph_objects as go
    import plotly.io as pio

    stills = [go.Figure(figure).update_layout(updatemenus=[], overwrite=True) for figure in figures]
    with TemporaryDirectory(prefix="interp-images-") as folder:
        paths = [Path(folder) / f"{number}.png" for number in range(len(stills))]
        heights = [figure.layout.height for figure in stills]
        try:
            with _quiet_browser():
                pio.write_images(stills, paths, width=[WIDTH] * len(stills), height=heights, scale=[SCALE] * len(stills))
        except Exception as err:  # kaleido and its browser raise errors of many kinds
            reason = (str(err).strip().splitlines() or [""])[0]
            raise ImagesUnavailableError(
                f"kaleido made no image ({type(err).__name__}: {reason}); install Chrome or Chromium"
            ) from err
        return [path.read_bytes() for path in paths]


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
