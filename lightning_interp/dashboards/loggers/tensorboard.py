# SPDX-License-Identifier: Apache-2.0
"""TensorBoard: charts that belong together, and at the end pictures, verdict and phases."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from typing import Any

from lightning_interp.core.console import say
from lightning_interp.core.timeline import Timeline
from lightning_interp.dashboards.images import ImagesUnavailableError, png_images
from lightning_interp.dashboards.loggers.logger_adapter import LoggerAdapter
from lightning_interp.dashboards.loggers.outcome import FIGURE_PREFIX, GROKKING_KEY, VERDICT_KEY, Outcome, summary_fields
from lightning_interp.dashboards.loggers.sections import sections_of
from lightning_interp.measures.label import NO_LABELS, Labels
from lightning_interp.measures.logged_names import STEP_KEY, logged_name, record_name
from lightning_interp.phases.verdict_state import verdict_words

MOST_IMAGES = 4
"""Figures sent as images; each takes about a second."""


class TensorBoardAdapter(LoggerAdapter):
    """A TensorBoardLogger, over torch's SummaryWriter or that of tensorboardX."""

    def prepare(self, keys: Sequence[str], own: Labels = NO_LABELS) -> None:
        """Lay the scalars out in the tab "Custom Scalars"; TensorBoard keeps one layout of each run, the latest."""
        names = [record_name(key) or key for key in keys if key != STEP_KEY]
        self.logger.experiment.add_custom_scalars(scalar_layout(names, own, prefix=_prefix(self.logger)))

    def summarize(self, timeline: Timeline, last_step: int) -> None:
        """Verdict and phases as text, once final."""
        if timeline.state != "final":
            return
        self.logger.experiment.add_text(VERDICT_KEY, outcome_text(timeline, last_step), max(last_step, 0))

    def publish_figures(self, outcome: Outcome) -> None:
        """The main figures as images, where something can make images here."""
        drawn = outcome.figures(MOST_IMAGES)
        try:
            pictures = png_images([each.figure for each in drawn])
        except ImagesUnavailableError as err:
            say(f"TensorBoard gets no figures: {err}")
            return
        import numpy as np
        from PIL import Image

        for each, picture in zip(drawn, pictures, strict=True):
            pixels = np.asarray(Image.open(BytesIO(picture)).convert("RGB"))
            step = max(outcome.last_step, 0)
            self.logger.experiment.add_image(f"{FIGURE_PREFIX}{each.key}", pixels, step, dataformats="HWC")


def scalar_layout(names: Sequence[str], own: Labels = NO_LABELS, *, prefix: str = "") -> dict[str, dict[str, list[Any]]]:
    """A layout for `SummaryWriter.add_custom_scalars`.

    Args:
        names: What is logged, without the loggers' prefix.
        own: Labels of measures that are not built in.
        prefix: What the logger puts before every name.

    >>> scalar_layout(["train_loss", "phase"])["losses"]
    {'losses': ['Multiline', ['interp/train_loss$']]}
    """
    layout: dict[str, dict[str, list[Any]]] = {}
    for section in sections_of(names, own):
        # TensorBoard takes a tag for the beginning of a regular expression.
        charts = layout.setdefault(section.title, {})
        for title, curves in section.charts.items():
            charts[title] = ["Multiline", [f"{re.escape(prefix + logged_name(name))}$" for name in curves]]
    return layout


def outcome_text(timeline: Timeline, last_step: int) -> str:
    """Verdict and phases in Markdown."""
    fields: Mapping[str, Any] = summary_fields(timeline, last_step)
    lines = [f"**Verdict: {_plain(verdict_words(timeline))}**", ""]
    lines += ["| phase | from step | to step | confidence |", "|---|---|---|---|"]
    for phase in timeline.phases:
        end = "open" if phase.end is None else f"{phase.end:,}"
        lines.append(f"| {_plain(phase.name)} | {phase.start:,} | {end} | {phase.confidence:.2f} |")
    grokking = fields.get(GROKKING_KEY)
    reached = f"reached at step {grokking:,}" if grokking is not None else f"not reached by step {last_step:,}"
    return "\n".join([*lines, "", f"Held-out accuracy of .95: {reached}."])


def _plain(name: str) -> str:
    return escape(name.replace("_", " ").replace("|", "/"))


def _prefix(logger: Any) -> str:
    given = getattr(logger, "_prefix", "")
    return f"{given}{getattr(logger, 'LOGGER_JOIN_CHAR', '-')}" if isinstance(given, str) and given else ""
