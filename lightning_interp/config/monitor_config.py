# SPDX-License-Identifier: Apache-2.0
"""What the user asked for, checked against the module before anything changes."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from torch import nn

from lightning_interp.analysis.worker.engines import Background
from lightning_interp.capture.clone import check_capturable, parameter_names, state_tensors
from lightning_interp.capture.default_layers import default_layers, left_out_lines
from lightning_interp.capture.schedule import EveryNSteps, LogSpaced, Schedule
from lightning_interp.capture.selection import select_layers, select_parameters, select_watched
from lightning_interp.config.users_probe import users_probe
from lightning_interp.core.device import check_device
from lightning_interp.core.errors import ConfigError
from lightning_interp.core.imports import import_object
from lightning_interp.core.outcome import Outcome, outcome_of
from lightning_interp.core.records import ProbeStep
from lightning_interp.core.request import AnalysisRequest, with_options
from lightning_interp.core.tca_settings import PREFIX, TCA, checked_ranks, logged_components
from lightning_interp.dashboards.loggers.rows import ROOM
from lightning_interp.measures import CyclicGroupTask, Measure, resolve_measures, scalar_names
from lightning_interp.measures.logged_names import logged_name
from lightning_interp.measures.logged_outcome import LoggedOutcome
from lightning_interp.measures.registry import check_causal
from lightning_interp.store.retention import parse_retention, parse_size

SWITCH = "LIGHTNING_INTERP"
"""Environment variable; "0" switches every monitor off."""

FOREVER_S = 1e9
"""Thirty years: threads refuse to wait for an infinite time."""

_WRITTEN_AFTER = {"background": "device", "report": "strict"}
"""Options of the request that stand behind others in run.json, by the option they follow."""


@dataclass(frozen=True)
class MonitorConfig:
    """Arguments of `InterpMonitor`, which documents them; nothing is checked yet."""

    dirpath: str | os.PathLike[str] | None = None
    every_n_steps: int | None = None
    schedule: Schedule | None = None
    request: AnalysisRequest = field(default_factory=AnalysisRequest)
    background: Background = "process"
    max_overhead: float = 0.02
    max_disk: str | int | None = "5GB"
    retention: str = "log"
    close_timeout: float | None = 60.0
    save_probe: bool = True
    report: bool = True

    @property
    def close_within_s(self) -> float:
        """Seconds the end of the training waits; a number that every clock takes where it waits for all."""
        return FOREVER_S if self.close_timeout is None else min(self.close_timeout, FOREVER_S)

    @classmethod
    def of(cls, **options: Any) -> "MonitorConfig":
        """A configuration from the arguments of `InterpMonitor`."""
        return with_options(cls(), options)

    def plain(self) -> dict[str, Any]:
        """The configuration in values JSON can hold, for run.json."""
        asked, own = ({name: getattr(of, name) for name in of.__dataclass_fields__} for of in (self.request, self))
        later = {after: {name: asked.pop(name)} for after, name in _WRITTEN_AFTER.items()}
        values: dict[str, Any] = {}
        for name, value in own.items():
            values |= asked if name == "request" else {name: value}
            values |= later.get(name, {})
        task, settings, outcome = self.request.task, tca_settings(self.request.tca), outcome_of(self.request.outcome)
        return {name: _plain(value) for name, value in values.items()} | {
            "task": None if task is None else {**vars(task), "operands": list(task.operands)},
            "tca": None if settings is None else settings.plain(),
            "outcome": None if outcome is None else outcome.plain(),
        }


@dataclass(frozen=True)
class Resolved:
    """A configuration that fits the module.

    Attributes:
        request: The configuration's, resolved.
        matrices: Selected parameters of two axes or more.
        names: Scalar names loggers get.
        notes: Lines for the user.
        roles: What each layer is in the network, by its name, where the layers are the default ones.
    """

    request: AnalysisRequest
    matrices: tuple[str, ...]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    roles: Mapping[str, str] = field(default_factory=dict)


def switched_off(variable: str = SWITCH) -> bool:
    """Whether the environment says "0": that no monitor runs, or what else has a variable of its own."""
    return os.environ.get(variable, "").strip() == "0"


def resolve(config: MonitorConfig, module: nn.Module, *, live: bool = True) -> Resolved:
    """Check every argument against the module.

    Args:
        config: What was asked for.
        module: The module that is watched, or was.
        live: The training still runs, so that no measure may look at later snapshots.

    Raises:
        ConfigError: An argument cannot be honoured; the message names it and the fix.
    """
    check_arguments(config)
    check_capturable(module)
    asked = config.request
    shapes = {name: tuple(tensor.shape) for name, tensor in state_tensors(module).items()}
    default = default_layers(module)
    left_out = default.unmeasured if asked.parameters == "*" else frozenset()
    known = parameter_names(module, without=left_out)
    nothing = asked.parameters == "*" and not known  # the state_dict has them under other names, in memory of its own
    parameters = () if nothing else select_parameters(asked.parameters, known)
    layers = tuple(default.roles) if asked.layers is None else select_layers(asked.layers, module)
    task = None if asked.task is None else asked.task.resolve(shapes)
    outcome = outcome_of(asked.outcome)
    measures = with_outcome(resolve_measures(asked.measures, task=task), outcome)
    if live:
        check_causal(measures)
    names = scalar_names(measures)
    tca = resolve_tca(tca_settings(asked.tca), layers)
    components: tuple[str, ...] = ()
    if tca is not None:
        components = logged_components(tuple(tca.layers or ()), checked_ranks(tca.ranks), room=ROOM - len(names))
    notes: tuple[str, ...] = () if layers else ("no layer to watch: the module has no submodules; pass layers=",)
    notes += ("no parameter is in the state_dict of the module: weights are not measured",) if nothing else ()
    request = replace(
        asked,
        parameters=parameters,
        layers=layers,
        measures=measures,
        task=task,
        tca=tca,
        outcome=outcome,
        probe=users_probe(asked.probe),
        probe_step=_users_probe_step(asked.probe_step),
    )
    return Resolved(
        request,
        matrices=tuple(name for name in parameters if len(shapes[name]) > 1 and name not in layers),
        names=names + components,
        notes=notes
        + (left_out_lines(default) if asked.layers is None or asked.parameters == "*" else ())
        + (() if tca is None else (_describe(tca, components),))
        + (() if outcome is None else (_describe_outcome(outcome),)),
        roles=default.roles if layers == tuple(default.roles) else {},
    )


def tca_settings(tca: TCA | bool | None) -> TCA | None:
    """What the argument `tca` asks for; True stands for the defaults.

    Raises:
        ConfigError: It is something else, or a value in it cannot be honoured.
    """
    if tca is None or tca is False:
        return None
    if tca is True:
        return TCA().checked()
    if not isinstance(tca, TCA):
        raise ConfigError(f"tca: expected TCA(...), true for its defaults, or nothing, got a {type(tca).__name__}.")
    return tca.checked()


def resolve_tca(settings: TCA | None, layers: Sequence[str]) -> TCA | None:
    """The settings with the names of their layers.

    Raises:
        ConfigError: No layer is watched, or a pattern matches none that is.
    """
    if settings is None:
        return None
    return replace(settings, layers=select_watched(settings.layers, layers, argument="tca.layers"))


def _describe(tca: TCA, logged: tuple[str, ...]) -> str:
    """What will come of the settings, in a line for the user."""
    ranks, layers = checked_ranks(tca.ranks), tuple(tca.layers or ())
    shown = max((int(name.rpartition("/")[2]) + 1 for name in logged), default=0)
    return (
        f"components of {', '.join(layers)}: ranks {ranks[0]} to {ranks[-1]}, fitted every {tca.every} snapshots; loggers "
        f"get the first {shown} of each layer as {logged_name(PREFIX)}<layer>/<number>, the run directory has all"
    )


def with_outcome(measures: tuple[Measure, ...], outcome: Outcome | None) -> tuple[Measure, ...]:
    """The measures, and the one that takes the outcome from what is logged."""
    return measures if outcome is None else (*measures, LoggedOutcome(outcome))


def _describe_outcome(outcome: Outcome) -> str:
    known = outcome.known_null
    null = "is not told: Outcome(name, null_value=...)" if known is None else f"{known[0]:g}, {known[1]}"
    better, curve = ("more", "accuracy") if outcome.direction == "max" else ("less", "loss")
    return f"outcome {outcome.name} ({better} is better) decides in place of held-out {curve}; of a constant answer {null}"


def make_schedule(config: MonitorConfig, max_steps: int | None) -> Schedule:
    """The schedule asked for, or the default for a run of this length."""
    if config.schedule is not None:
        return config.schedule
    return LogSpaced(max_steps) if config.every_n_steps is None else EveryNSteps(config.every_n_steps)


def check_arguments(config: MonitorConfig) -> None:
    """Check what can be checked without the module.

    Raises:
        ConfigError: An argument cannot be honoured; the message names it and the fix.
    """
    if config.every_n_steps is not None and config.schedule is not None:
        raise ConfigError("every_n_steps and schedule: give one of them, not both.")
    if config.schedule is not None and not isinstance(config.schedule, Schedule):
        raise ConfigError(f"schedule: expected a Schedule, got a {type(config.schedule).__name__}; see capture.schedule.")
    make_schedule(config, None)
    if config.background not in get_args(Background):
        raise ConfigError(f"background: expected one of {', '.join(get_args(Background))}, got {config.background!r}.")
    asked = config.request
    if asked.task is not None and not isinstance(asked.task, CyclicGroupTask):
        raise ConfigError(f"task: expected a CyclicGroupTask(p, op), got a {type(asked.task).__name__}.")
    if config.close_timeout is not None and not config.close_timeout >= 0:
        waits = "or nothing (None) to wait for the whole analysis"
        raise ConfigError(f"close_timeout: expected seconds, 0 or more, {waits}, got {config.close_timeout!r}.")
    share = config.max_overhead
    if isinstance(share, bool) or not isinstance(share, int | float) or not share > 0:
        raise ConfigError(f"max_overhead: expected a share of wall time over 0, such as 0.02 for 2 %, got {share!r}.")
    parse_size(config.max_disk, argument="max_disk")
    parse_retention(config.retention)
    tca_settings(asked.tca)
    outcome_of(asked.outcome)
    check_device(asked.device)
    if isinstance(asked.module, str):
        import_object(asked.module, argument="module")
    elif asked.module is not None and not callable(asked.module):
        raise ConfigError("module: expected a factory without arguments, or 'pkg.mod:name' of one.")
    if config.dirpath is not None:
        check_writable(Path(config.dirpath))


def check_writable(directory: Path) -> None:
    """Refuse a directory that cannot be written, before training starts.

    Raises:
        ConfigError: The directory, or the nearest one above that exists, is read-only or is a file.
    """
    nearest = next((path for path in (directory, *directory.absolute().parents) if path.exists()), Path("/"))
    if not nearest.is_dir():
        raise ConfigError(f"dirpath: {nearest} is a file, expected a directory.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ConfigError(f"dirpath: {nearest} is read-only; choose a dirpath you can write to.")


def _users_probe_step(probe_step: ProbeStep | str | None) -> ProbeStep | None:
    found = import_object(probe_step, argument="probe_step") if isinstance(probe_step, str) else probe_step
    if found is not None and not callable(found):
        raise ConfigError(f"probe_step: expected a function (module, batch) -> ProbeOutputs, got {found!r}.")
    return found


def _plain(value: object) -> Any:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Measure):
        return value.name
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}:{value.__qualname__}"
    return repr(value) if isinstance(value, Schedule) else f"<{type(value).__name__}>"
