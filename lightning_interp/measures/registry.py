# SPDX-License-Identifier: Apache-2.0
"""From what a user writes for ``measures=`` to measure objects."""

import difflib
import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points

from lightning_interp.core.errors import ConfigError
from lightning_interp.core.imports import import_object
from lightning_interp.measures.base import Measure, labels_of
from lightning_interp.measures.cyclic_group import CyclicGroupTask
from lightning_interp.measures.excluded_loss import ExcludedLoss, ExcludedLossMax
from lightning_interp.measures.fourier_gini import GiniEmbedding, GiniReadout
from lightning_interp.measures.fourier_power import FourierPowerEmbedding, FourierPowerReadout
from lightning_interp.measures.label import Label
from lightning_interp.measures.losses import HeldoutAccuracy, HeldoutLoss, LossGap, TrainAccuracy, TrainLoss
from lightning_interp.measures.margins import ScoreMargin
from lightning_interp.measures.norms import WeightNorm, WeightNormSlope
from lightning_interp.measures.percentile import HeldoutPercentile
from lightning_interp.measures.restricted_loss import RestrictedLoss
from lightning_interp.measures.shuffled_loss import ShuffledLoss
from lightning_interp.measures.sparsity import ActivationSparsity
from lightning_interp.measures.spectra import ActivationSpectra, WeightSpectra
from lightning_interp.measures.weight_sketch import WeightSketch

ENTRY_POINTS = "lightning_interp.measures"
"""Entry-point group through which other packages offer measures by name."""

MAX_SCALARS = 40
"""Most scalars a run sends to loggers, measures and all else together; boards freeze on hundreds."""

STANDARD: tuple[type[Measure], ...] = (
    TrainLoss,
    HeldoutLoss,
    TrainAccuracy,
    HeldoutAccuracy,
    LossGap,
    WeightNorm,
    WeightNormSlope,
    WeightSpectra,
    ActivationSpectra,
    ActivationSparsity,
    HeldoutPercentile,
    ScoreMargin,
    ShuffledLoss,
    WeightSketch,
)
"""Measures that apply to any network, cheap ones first."""

GROUPS: dict[str, tuple[type[Measure], ...]] = {
    "losses": (TrainLoss, HeldoutLoss, TrainAccuracy, HeldoutAccuracy, LossGap),
    "norms": (WeightNorm, WeightNormSlope),
    "spectra": (WeightSpectra, ActivationSpectra),
}
"""Names of several measures at once."""

FOURIER: tuple[type[Measure], ...] = (
    RestrictedLoss,
    ExcludedLoss,
    ExcludedLossMax,
    GiniEmbedding,
    GiniReadout,
    FourierPowerEmbedding,
    FourierPowerReadout,
)
"""Measures for a declared group task."""

MeasureSpec = str | Measure | type[Measure]
"""Name of a measure or of what it gives, ``"standard"``, one of `GROUPS`, ``"pkg.mod:Name"``, a measure, or its class."""


def resolve_measures(
    spec: MeasureSpec | Sequence[MeasureSpec], *, task: CyclicGroupTask | None = None
) -> tuple[Measure, ...]:
    """Measures of a run, each once, in the order asked for.

    Args:
        spec: ``"standard"`` (with a task the Fourier measures, too), one measure, or several.
        task: Group task handed to measures whose constructor has an argument ``task``.

    Returns:
        Measure objects with distinct names.

    Raises:
        ConfigError: A name is unknown, cannot be imported, needs a task, or two measures claim the same name.
    """
    items = [spec] if isinstance(spec, (str, Measure, type)) else list(spec)
    built: dict[str, Measure] = {}
    for item in items:
        for measure in resolve_one(item, task):
            known = built.setdefault(measure.name, measure)
            if isinstance(item, Measure) and known is not measure:
                raise ConfigError(f"`measures` holds two measures named {measure.name!r}.")
    measures = tuple(built.values())
    scalar_names(measures)
    own_labels(measures)
    return measures


def scalar_names(measures: Sequence[Measure]) -> tuple[str, ...]:
    """Scalar names the measures may give, in order: what loggers see.

    Raises:
        ConfigError: Two measures claim one name, or there are more than `MAX_SCALARS`.
    """
    names = [name for measure in measures for name in measure.names]
    vectors = [name for measure in measures for name in measure.vector_names]
    twice = [name for name, count in Counter(names + vectors).items() if count > 1]
    if twice:
        raise ConfigError(f"`measures`: more than one measure gives {', '.join(twice)}; name only one of them.")
    if len(names) > MAX_SCALARS:
        raise ConfigError(
            f"`measures` give {len(names)} scalars, loggers take {MAX_SCALARS}: ask for fewer, or let a measure give "
            "its detail as 'name/<layer>', which stays in the run directory."
        )
    return tuple(names)


def makers() -> dict[str, type[Measure]]:
    """The built-in measure of each scalar name, in the order they are registered."""
    return {name: cls for cls in STANDARD + FOURIER for name in cls.names}


def known_labels() -> dict[str, Label]:
    """Labels of the built-in scalars, in the order they are registered."""
    return {name: label for cls in STANDARD + FOURIER for name, label in labels_of(cls).items()}


def own_labels(measures: Sequence[Measure]) -> dict[str, Label]:
    """Labels that measures declare which are not built in.

    Raises:
        ConfigError: Something else than a `Label` is declared.
    """
    declared = {name: label for measure in measures for name, label in labels_of(measure).items()}
    return {name: label for name, label in declared.items() if known_labels().get(name) != label}


def check_causal(measures: Sequence[Measure]) -> None:
    """Refuse measures that look at later snapshots, which a training that still runs does not have.

    Raises:
        ConfigError: There is one; the message says how to get its values.
    """
    for measure in measures:
        if not measure.causal:
            spec = f"{type(measure).__module__}:{type(measure).__qualname__}"
            raise ConfigError(
                f"`measures`: {measure.name} looks at later snapshots (causal = False), which a live run does not have. "
                f"Leave it out here and use it afterwards: `lightning-interp analyze RUN_DIR --measures {spec}`."
            )


def resolve_one(item: MeasureSpec, task: CyclicGroupTask | None) -> tuple[Measure, ...]:
    """Measures of one entry of the specification."""
    if isinstance(item, Measure):
        return (item,)
    if item == "standard":
        return tuple(build(cls, task) for cls in (STANDARD if task is None else STANDARD + FOURIER))
    if isinstance(item, str) and item in GROUPS:
        return tuple(build(cls, task) for cls in GROUPS[item])
    if isinstance(item, str):
        return (build(find(item), task),)
    return (build(item, task),)


def find(name: str) -> object:
    """What a name stands for: a built-in class, an entry point's object, or the object at ``pkg.mod:Name``.

    Raises:
        ConfigError: The name is unknown or cannot be imported.
    """
    builtin = {key: cls for cls in STANDARD + FOURIER for key in (cls.name, *cls.names, *cls.vector_names)}
    if name in builtin:
        return builtin[name]
    if ":" in name:
        return import_object(name, argument="`measures`")
    offered = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name in offered:
        return import_object(offered[name].value, argument="`measures`")
    known = ["standard", *GROUPS, *builtin, *offered]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or known
    raise ConfigError(f"`measures`: {name!r} is unknown; nearest: {', '.join(near)}. Or write 'pkg.mod:Name'.")


def build(target: object, task: CyclicGroupTask | None) -> Measure:
    """A measure from a measure, a measure class, or a function that returns one.

    Raises:
        ConfigError: It needs a task and there is none, or the result is no measure.
    """
    if isinstance(target, Measure):
        return target
    if not callable(target):
        raise ConfigError(f"`measures`: {target!r} is no Measure, nor something that makes one.")
    label = getattr(target, "name", getattr(target, "__name__", repr(target)))
    made = make(target, task, label=str(label))
    if not isinstance(made, Measure):
        raise ConfigError(f"`measures`: {label} gave {type(made).__name__}, expected a Measure.")
    return made


def make(factory: Callable[..., object], task: CyclicGroupTask | None, *, label: str) -> object:
    """Call a factory, with the task where it has an argument of that name."""
    try:
        argument = inspect.signature(factory).parameters.get("task")
    except ValueError:  # some callables written in C have no signature
        argument = None
    if argument is None:
        return factory()
    if task is None and argument.default is inspect.Parameter.empty:
        raise ConfigError(f"`measures`: {label} needs a group task: pass task=CyclicGroupTask(p, op).")
    return factory(task=task)
