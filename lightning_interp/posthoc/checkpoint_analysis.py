# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a training that is over, or was somebody else's: the live path without a training.

Each checkpoint becomes a snapshot and is measured by the code that measures live ones; what comes out is a run directory
without snapshots. Checkpoints are looked over first, by their headers, then read one at a time.
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from lightning_interp.analysis.apart import working_apart
from lightning_interp.analysis.orders import analyzer_for
from lightning_interp.analysis.worker.pipe import StartOrder
from lightning_interp.capture.default_layers import DEFAULT_LAYERS, copies_line, spread
from lightning_interp.capture.network_copies import is_inside, network_copies
from lightning_interp.capture.selection import select_parameters
from lightning_interp.config.monitor_config import MonitorConfig, resolve, resolve_tca, tca_settings
from lightning_interp.config.run_directory import default_directory, package_versions
from lightning_interp.config.users_probe import users_probe
from lightning_interp.core.device import check_device
from lightning_interp.core.errors import ConfigError
from lightning_interp.core.imports import where_it_is
from lightning_interp.core.request import AnalysisRequest, with_options
from lightning_interp.measures import Measure, MeasureSpec
from lightning_interp.posthoc.checkpoint_intake import CheckpointIntake
from lightning_interp.posthoc.checkpoint_mapping import MapOrder, Mapped, Mapper
from lightning_interp.posthoc.checkpoint_survey import Survey, none_measured
from lightning_interp.posthoc.map_engines import map_inline, map_local, map_ray
from lightning_interp.posthoc.unfinished_run import imported, order_for
from lightning_interp.sources.checkpoints.finding import Finding
from lightning_interp.sources.checkpoints.integrity import Inspected
from lightning_interp.store import (
    Manifest,
    Run,
    analyzer_lock,
    holds_run,
    open_run,
    read_manifest,
    write_manifest,
    write_probe,
)
from lightning_interp.store.analysis_state import read_state

EngineName = Literal["local", "ray"]

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""Endings of state_dict names that are no parameters; without the module nothing else tells."""


@dataclass(frozen=True)
class CheckpointOptions:
    """How checkpoints are analyzed.

    Attributes:
        out: Run directory to write; None for a new one under ``interp_runs/``. One that was begun is gone on with.
        request: What to analyze, as for `InterpMonitor`: `parameters`, `layers`, `measures`, `task`, `tca`, `outcome`,
            `probe`, `probe_step`, `module`, `device`, `strict`. Without a module, weights alone. If `probe` is a run
            directory, its layers, measures and task are taken over, too, and `measures` come beside the run's own.
        engine: ``local`` or ``ray``.
        workers: Processes that map checkpoints; 1 works in this one.
        threads: Torch threads of each. Another number can change the last bits.
    """

    out: str | PathLike[str] | None = None
    request: AnalysisRequest = field(default_factory=AnalysisRequest)
    engine: EngineName = "local"
    workers: int = 1
    threads: int = 1


@dataclass(frozen=True)
class CheckpointAnalysis:
    """What an analysis of checkpoints did.

    Attributes:
        run: The run directory, to read results from.
        observed: Steps observed now.
        findings: Everything there is to say about the checkpoints.
        notices: Lines for the user.
        pending: Names of measures that need a replica or a probe and had none.
    """

    run: Run
    observed: tuple[int, ...]
    findings: tuple[Finding, ...]
    notices: tuple[str, ...]
    pending: tuple[str, ...]


def analyze_checkpoints(
    sources: str | PathLike[str] | Sequence[str | PathLike[str]],
    options: CheckpointOptions | None = None,
    *,
    step_pattern: str | None = None,
    averaged: bool = False,
    key: str = "",
    on_survey: Callable[[Survey], None] = lambda _: None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    **changes: Any,
) -> CheckpointAnalysis:
    """Analyze checkpoints as a live monitor would have.

    Args:
        sources: Files, folders, run directories or fsspec URLs. Nothing in them is resolved, imported or called.
        options: How; fields of `CheckpointOptions` and of its request can also be given by name.
        step_pattern: Regular expression with one group, where names say the step and checkpoints do not.
        averaged: Whether to read averaged weights (EMA) and not the network in training, of checkpoints that hold both.
        key: Where in files of torch.save the state dict is, keys joined by dots; empty to find it.
        on_survey: Told what was found, with the step of each checkpoint, before work starts.
        on_progress: Told how many are done, and of how many.
        **changes: Fields of `CheckpointOptions` and of its request.

    Raises:
        ConfigError: An option cannot be honoured, or a source is not there.
        CheckpointError: None of the checkpoints can be analyzed, or none could be measured.

    Example:
        ``analyze_checkpoints("checkpoints", module="project.model:build", probe="interp_runs/1").run.timeline.verdict``
    """
    chosen = _changed(options or CheckpointOptions(), changes)
    listed = [sources] if isinstance(sources, str | PathLike) else list(sources)
    survey = Survey.of([fspath(source) for source in listed], step_pattern=step_pattern, averaged=averaged, key=key)
    on_survey(survey)
    return analyze_survey(survey, chosen, on_progress=on_progress)


def analyze_survey(
    survey: Survey, options: CheckpointOptions, *, on_progress: Callable[[int, int], None] = lambda _done, _total: None
) -> CheckpointAnalysis:
    """Analyze what a survey found; see `analyze_checkpoints`."""
    _check(options)
    survey.require_some()
    out = Path(options.out) if options.out is not None else default_directory(Path.cwd())
    manifest = _open(out, survey, options)
    order, _ = order_for(manifest, replace(options.request, measures=_named_measures(options.request.measures), probe=None))
    with analyzer_lock(out, wait_s=1.0), _threads(options.threads), working_apart():
        intake = CheckpointIntake(analyzer_for(out, order), survey)
        left_out = [
            copy
            for copy in network_copies(survey.shapes)
            if not any(is_inside(name, (copy,)) for name in manifest.parameters)
        ]
        if left_out:
            intake.analyzer.state.notice(copies_line(left_out))
        observed = _observe(intake, order, options, on_progress)
    if intake.tried and not intake.has_records:
        raise none_measured(survey.sources, intake.findings)
    pending = tuple(m.name for m in order.request.measures if intake.lacks_outputs(m))
    return CheckpointAnalysis(open_run(out), observed, intake.findings, tuple(intake.notices), pending)


def _observe(
    intake: CheckpointIntake, order: StartOrder, options: CheckpointOptions, on_progress: Callable[[int, int], None]
) -> tuple[int, ...]:
    """Map what lacks values and add it, in order of steps."""
    items = intake.lacking()
    Mapper(intake.analyzer.observer).settle(items)
    if intake.analyzer.observer.gave_up_guess:  # what an earlier analysis measured, too
        intake.analyzer.take_back_losses()
        items = intake.lacking()
    total, done = len(items), 0
    on_progress(0, total)
    intake.begin()
    try:
        for mapped in _mapped(intake, items, order, options):
            intake.add(mapped)
            done += 1
            on_progress(done, total)
    except BaseException:
        intake.end("stopped")
        raise
    intake.end("finished")
    return intake.observed


def _mapped(
    intake: CheckpointIntake, items: list[Inspected], order: StartOrder, options: CheckpointOptions
) -> Iterator[Mapped]:
    """Results as they come. Before workers take over, one checkpoint must have shown here how outputs are found."""
    mapper = Mapper(intake.analyzer.observer)
    if options.workers == 1 and options.engine == "local":
        yield from map_inline(mapper, items)
        return
    first = 0
    while first < len(items) and intake.analyzer.observer.chooses:
        yield mapper(items[first])
        first += 1
    rest, packed = items[first:], _map_order(intake, order, options.threads)
    if options.engine == "ray":
        yield from map_ray(packed, rest, workers=options.workers)
    else:
        yield from map_local(packed, rest, workers=options.workers)


def _map_order(intake: CheckpointIntake, order: StartOrder, threads: int) -> MapOrder:
    analyzer = intake.analyzer
    request = replace(order.request, probe=analyzer.observer.probe, device=analyzer.state.device)
    return MapOrder(request, analyzer.manifest.layers, analyzer.watched, analyzer.state.choices(), threads)


def _open(out: Path, survey: Survey, options: CheckpointOptions) -> Manifest:
    """The run directory to write, new or begun."""
    if holds_run(out):
        known = read_manifest(out)
        if known.configuration.get("checkpoints") is None:
            raise ConfigError(
                f"out: {out} holds the run of a training. Choose another directory, or leave it out for a new one."
            )
        _check_same_means(out, known, options, survey)
        return known
    asked = options.request
    base, factory = _probe_run(asked.probe), imported(asked.module, "module")
    probe = users_probe(asked.probe)
    manifest = _taken_over(base, asked) if base is not None else _manifest(asked, survey, factory)
    plain = {"checkpoints": list(survey.sources), "threads": options.threads, "averaged": survey.averaged}
    plain |= {"key": survey.key} if survey.key else {}
    plain |= {"axis": "epochs"} if survey.in_epochs else {}
    manifest = replace(manifest, configuration={**manifest.configuration, **plain})
    try:
        out.mkdir(parents=True, exist_ok=True)
        entry = {"status": "none"} if probe is None else {"status": "ready", "hash": write_probe(out, probe)}
        if base is not None:  # the choices of the run's first snapshot hold here, too
            read_state(Path(str(asked.probe))).choices().write(out)
        write_manifest(out, replace(manifest, probe=entry))
    except OSError as err:
        raise ConfigError(f"out: {out} cannot be written ({err.strerror or err}). Choose another directory.") from err
    return read_manifest(out)


def _check_same_means(out: Path, known: Manifest, options: CheckpointOptions, survey: Survey) -> None:
    """Refuse to go on with more than an analysis was begun with: its layers and its probe are those of the whole run."""
    if known.configuration.get("averaged", survey.averaged) != survey.averaged:
        weights = "trained weights" if survey.averaged else "averaged weights"
        raise ConfigError(f"out: {out} was begun with {weights}. Choose another directory.")
    if known.configuration.get("key", "") != survey.key:
        raise ConfigError(f"out: {out} was begun with another --key (key=). Choose another directory.")
    if (known.configuration.get("axis") == "epochs") != survey.in_epochs:
        raise ConfigError(
            f"out: {out} was begun with {'steps' if survey.in_epochs else 'epochs'}. Choose another directory."
        )
    if known.probe.get("status") == "none" and options.request.probe is not None:
        raise ConfigError(
            f"out: {out} was begun without a probe, with the weights alone. Choose another directory to measure more."
        )


def _probe_run(probe: object) -> Manifest | None:
    """The run whose probe is taken, None where it is not a run's."""
    return read_manifest(Path(probe)) if isinstance(probe, str) and holds_run(Path(probe)) else None


def _named_measures(given: MeasureSpec | Sequence[MeasureSpec]) -> list[MeasureSpec]:
    """Measures to add to those that a manifest can hold, which are built-in ones by name."""
    if isinstance(given, str) and given == "standard":
        return []
    return [given] if isinstance(given, str | Measure | type) else list(given)


def _taken_over(base: Manifest, asked: AnalysisRequest) -> Manifest:
    """A manifest that watches what another run watched."""
    configuration = dict(base.configuration)
    plain = MonitorConfig(request=asked).plain()
    configuration |= {name: plain[name] for name in ("task", "tca", "outcome") if getattr(asked, name) is not None}
    fresh = {"run_id": secrets.token_hex(6), "created": _now(), "versions": package_versions(), "status": "finished"}
    return replace(base, configuration=configuration, attempts=base.attempts[:1], **fresh)  # type: ignore[arg-type]


def _manifest(asked: AnalysisRequest, survey: Survey, factory: Callable[[], nn.Module] | None) -> Manifest:
    """A manifest for checkpoints nobody watched in training."""
    config = MonitorConfig(request=replace(asked, probe=None))
    if factory is not None:
        module = _built(factory)
        resolved = resolve(config, module, live=False)
        layers, parameters, matrices = resolved.request.layers, resolved.request.parameters, resolved.matrices
        title = f"{type(module).__module__}.{type(module).__qualname__}"
    else:
        shapes = survey.shapes
        trained = [name for name in shapes if not name.endswith(_BUFFERS)]
        if asked.parameters == "*":
            copies = network_copies({name: shapes[name] for name in trained})
            trained = [name for name in trained if not is_inside(name, copies)]
        parameters, title = select_parameters(asked.parameters, trained), ""
        matrices = tuple(name for name in parameters if len(shapes[name]) > 1)
        layers = spread(matrices, DEFAULT_LAYERS) if asked.tca else ()
        resolve_tca(tca_settings(asked.tca), layers)
        matrices = tuple(name for name in matrices if name not in layers)
    return Manifest(
        run_id=secrets.token_hex(6),
        created=_now(),
        layers=layers + matrices,
        activation_layers=layers,
        parameters=parameters,
        module_class=title,
        configuration=config.plain() | ({"weight_layers": list(layers)} if factory is None else {}),
        versions=package_versions(),
        status="finished",
    )


def _built(factory: Callable[[], nn.Module]) -> nn.Module:
    try:
        return factory()
    except Exception as err:  # the user's code may raise anything
        raise ConfigError(f"module: the factory failed ({type(err).__name__}: {err}).{where_it_is(err)}") from err


def _changed(options: CheckpointOptions, changes: dict[str, Any]) -> CheckpointOptions:
    known = [*options.__dataclass_fields__, *options.request.__dataclass_fields__]
    unknown = [name for name in changes if name not in known]
    if unknown:
        raise ConfigError(f"analyze_checkpoints: no option {unknown[0]!r}; there are {', '.join(known)}.")
    return with_options(options, changes)


def _check(options: CheckpointOptions) -> None:
    check_device(options.request.device)
    for name in ("workers", "threads"):
        value = getattr(options, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"{name}: expected a whole number from 1 on, got {value!r}.")
    if options.engine not in ("local", "ray"):
        raise ConfigError(f"engine: expected local or ray, got {options.engine!r}.")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
