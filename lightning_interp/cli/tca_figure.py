# SPDX-License-Identifier: Apache-2.0
"""The pictures of ``lightning-interp tca``: one HTML page for all layers, or one image a layer."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_interp.cli.picture import writing

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from lightning_interp.posthoc.component_findings import LayerComponents
    from lightning_interp.store.run import Run


def draw(target: Path, run: "Run", layers: "Sequence[LayerComponents]") -> list[Path]:
    """Write one HTML page with all layers, or an image of each (of several, ``<name>-<layer>.png``); returns the files.

    Raises:
        ConfigError: They cannot be written.
    """
    from lightning_interp.dashboards.figures import write_image, write_page

    name = run.path.resolve().name
    with writing(target):
        if target.suffix.lower() == ".html":
            figures = [figure for found in layers for figure in _figures(found, run, name)]
            write_page(figures, target, title=f"Components of {name}")
            return [target]
        paths = _image_paths(target, [found.layer for found in layers])
        for path, found in zip(paths, layers, strict=True):
            write_image(_figures(found, run, name)[0], path)
    return paths


def _image_paths(target: Path, layers: Sequence[str]) -> list[Path]:
    if len(layers) == 1:
        return [target]
    return [target.with_stem(f"{target.stem}-{re.sub(r'[^A-Za-z0-9._#-]+', '_', layer)}") for layer in layers]


def _figures(found: "LayerComponents", run: "Run", name: str) -> "list[Figure]":
    from lightning_interp.dashboards.figures import components_figure, rank_selection_figure

    title = f"{name} · layer {found.layer}"
    components = components_figure(
        found.fit,
        found.prepared.steps,
        run.timeline,
        title=title,
        labels=found.stimuli.labels,
        heldout=found.stimuli.heldout,
        descriptions=found.descriptions,
        null=found.null,
    )
    selection = found.selection
    return [components, rank_selection_figure(selection.table, selection.recommended, title=f"{title}: how many components")]
