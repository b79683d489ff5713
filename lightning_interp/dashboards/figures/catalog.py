# SPDX-License-Identifier: Apache-2.0
"""Which figures can be drawn of a run, in reading order, with the words around them; and why others cannot."""

import re
from collections.abc import Sequence
from functools import partial

import plotly.graph_objects as go

from lightning_interp.dashboards.figures.component_figure import stored_components_figure
from lightning_interp.dashboards.figures.courses import courses_figure
from lightning_interp.dashboards.figures.health import health_figure
from lightning_interp.dashboards.figures.labels import drawn_in, label_for
from lightning_interp.dashboards.figures.layers import fourier_figure, layers_figure
from lightning_interp.dashboards.figures.losses import CURVE_STYLES, ERROR_STYLES, losses_figure
from lightning_interp.dashboards.figures.overlay import overlay_figure
from lightning_interp.dashboards.figures.panel import Panel
from lightning_interp.dashboards.figures.timeline import timeline_figure
from lightning_interp.dashboards.figures.title_and_buttons import stand_alone
from lightning_interp.dashboards.figures.trajectory import FEWEST_POINTS, SKETCH, trajectory_figure
from lightning_interp.dashboards.run_view import LOGGED_PREFIX, SETTINGS, RunView
from lightning_interp.measures.logged_names import OTHERS, is_component, record_name
from lightning_interp.store.health_log import events

FOURIER = {"fourier_power_embedding": "embedding", "fourier_power_readout": "readout"}
MOST_COMPONENT_LAYERS = 8
MOST_LAYER_MEASURES = 8


def panels(run: RunView) -> tuple[Panel, ...]:
    """Every figure that can be drawn of a run."""
    return (*_phases(run), *_measures(run), *_layers(run), *_components(run), *_training(run))


def absent(run: RunView) -> dict[str, str]:
    """Figures that cannot be drawn of a run: title, and what would be needed."""
    missing = {}
    if not _has_curves(run):
        missing["Losses and phases"] = "no loss and no accuracy is recorded"
    if not _has_trajectory(run):
        missing["Trajectory of the weights"] = "no sketches of the weights are recorded (measure weight_sketch)"
    if not FOURIER.keys() & run.vectors.keys():
        missing["Fourier power"] = "exists for a declared CyclicGroupTask"
    if not run.components:
        missing["Tensor components"] = "not asked for: InterpMonitor(tca=True), or `lightning-interp tca` afterwards"
    if not run.training:
        missing["Settings of the training"] = "learning rate, weight decay and batch size come from a live monitor"
    return missing


def overlay_panels(runs: Sequence[RunView]) -> tuple[Panel, ...]:
    """Figures of two or more runs together; none for fewer."""
    if len(runs) < 2:
        return ()
    caption = (
        "Above, the losses of all runs over their own steps; in the middle the phases of each; below, the losses in phase "
        "time: the step at which the first run was at the same place between its boundaries."
    )
    return (Panel("runs", "Runs side by side", caption, "phases", partial(overlay_figure, tuple(runs))),)


def standalone(panel: Panel, run: RunView) -> go.Figure:
    """A panel's figure with title, buttons and key, for a dashboard or a file of its own."""
    return stand_alone(panel.draw(), title=f"{panel.title} · {run.name}", timeline=run.timeline)


def _phases(run: RunView) -> list[Panel]:
    found = []
    if _has_curves(run):
        source = "Losses and accuracies as the training logged them," if run.logged else "Losses on the probe"
        caption = (
            f"{source} with the phases shaded; the bars above are as wide as the interval in which a boundary can "
            "lie. Below, how strongly each process is at work: they overlap."
        )
        found.append(Panel("losses", "Losses and phases", caption, "phases", partial(losses_figure, run)))
    if run.timeline.phases or run.timeline.stages:
        caption = (
            "Phases are back-dated to where the curves turned; an alarm stands where the detector could know. The shape of "
            "the loss needs no held-out data."
        )
        found.append(Panel("timeline", "Phase timeline", caption, "phases", partial(timeline_figure, run)))
    if _has_trajectory(run):
        caption = (
            "Random projections of all weights, drawn on their two main directions; distances hold to about a tenth. "
            "A bend is where training turned to something else."
        )
        found.append(Panel("trajectory", "Trajectory of the weights", caption, "phases", partial(trajectory_figure, run)))
    return found


def _measures(run: RunView) -> list[Panel]:
    groups = (
        ("accuracies", "Accuracy", "Share of the probe's examples that are answered rightly."),
        ("progress", "Progress measures", "Measures that move before accuracy does; each has an axis of its own."),
        ("weights", "Weights", "Norm and spectra of all watched parameters together; by layer below."),
        ("sparsity", "Sparsity", "How few activations carry the layer: 0 all alike, 1 a single one."),
        (OTHERS, "Other measures", "Measures of your own and of other packages."),
    )
    names = {key: drawn_in(key, run.labels) for key, *_ in groups[:-1]}
    names["accuracies"] += tuple(name for name in run.series if name.startswith("heldout_accuracy/"))
    placed = {*CURVE_STYLES, *ERROR_STYLES, *(name for section in names.values() for name in section)}
    foreign = (name for name in run.series if not is_component(name) and record_name(name) is None)
    names[OTHERS] = tuple(name for name in foreign if name not in placed)
    return [
        Panel(key, title, caption, "measures", partial(courses_figure, run, run.series, names[key]))
        for key, title, caption in groups
        if any(name in run.series for name in names[key])
    ]


def _layers(run: RunView) -> list[Panel]:
    found = []
    several = [measure for measure, grid in run.by_layer.items() if len(grid.layers) > 1]  # of one, the scalar says it all
    for measure in several[:MOST_LAYER_MEASURES]:
        label = label_for(measure, run.labels).label
        caption = f"{label[:1].upper()}{label[1:]} of each layer or parameter as a share of its own largest value."
        title = f"{label[:1].upper()}{label[1:]} by layer"
        found.append(Panel(f"layers-{key_of(measure)}", title, caption, "layers", partial(layers_figure, run, measure)))
    for name, where in FOURIER.items():
        if name in run.vectors:
            caption = "Share of the power of each frequency of the group; a circuit uses few of them."
            title = f"Fourier power of the {where}"
            found.append(Panel(key_of(name), title, caption, "layers", partial(fourier_figure, run, name)))
    return found


def _components(run: RunView) -> list[Panel]:
    caption = (
        "Each row is one component of the layer's activations: its course over training, its loading on every stimulus, "
        "and on every unit. It keeps its color and number as long as it keeps its identity."
    )
    return [
        Panel(
            f"components-{key_of(each.layer)}-{number}",
            f"Components of {each.layer}",
            caption,
            "components",
            partial(stored_components_figure, each, run.timeline),
        )
        for number, each in enumerate(run.components[:MOST_COMPONENT_LAYERS])
    ]


def _training(run: RunView) -> list[Panel]:
    settings = [name for name in run.training if name.split("/")[0] in SETTINGS]
    logged = [name for name in run.training if name.startswith(LOGGED_PREFIX)]
    groups: tuple[tuple[str, str, Sequence[str], str], ...] = (
        ("settings", "Settings of the training", settings, "Learning rate, weight decay and batch size at each snapshot."),
        ("logged", "Logged by the training", logged, "What the training's own code logged, at each snapshot."),
    )
    found = [
        Panel(key, title, caption, "training", partial(courses_figure, run, run.training, names))
        for key, title, names, caption in groups
        if names
    ]
    if events(run.health, "snapshot"):
        caption = "What each snapshot cost, and which were kept, removed to stay within the disk cap, or dropped."
        found.append(Panel("health", "The monitor itself", caption, "training", partial(health_figure, run)))
    return found


def _has_curves(run: RunView) -> bool:
    return bool((CURVE_STYLES.keys() | ERROR_STYLES.keys()) & (run.series.keys() | run.logged.keys()))


def _has_trajectory(run: RunView) -> bool:
    return SKETCH in run.vectors and len(run.vectors[SKETCH][0]) >= FEWEST_POINTS


def key_of(name: str) -> str:
    """A name as a key: lower-case letters, digits and dashes.

    >>> key_of("blocks.0/MLP <b>")
    'blocks-0-mlp-b'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "unnamed"
