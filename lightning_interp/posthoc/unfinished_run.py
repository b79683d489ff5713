# SPDX-License-Identifier: Apache-2.0
"""Finishing the analysis of a run directory whose training is gone: the live path without a Trainer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

from torch import nn

from lightning_interp.analysis.analyzer import Analyzer
from lightning_interp.analysis.apart import working_apart
from lightning_interp.analysis.measuring import needs_outputs
from lightning_interp.analysis.orders import analyzer_for
from lightning_interp.analysis.replica import FactorySource
from lightning_interp.analysis.worker.pipe import StartOrder
from lightning_interp.config.monitor_config import resolve_tca, with_outcome
from lightning_interp.core.device import check_device
from lightning_interp.core.errors import ConfigError, CorruptSnapshotError, InterpError, ProbeError, RunError
from lightning_interp.core.imports import import_object
from lightning_interp.core.outcome import Outcome
from lightning_interp.core.records import Probe, ProbeStep
from lightning_interp.core.request import AnalysisRequest
from lightning_interp.core.tca_settings import TCA
from lightning_interp.core.typed_values import fits, shown
from lightning_interp.measures import CyclicGroupTask, Measure, MeasureSpec, resolve_measures
from lightning_interp.measures.registry import FOURIER, GROUPS, STANDARD
from lightning_interp.store import Manifest, Run, analyzer_lock, open_run
from lightning_interp.store.analysis_state import WEIGHTS_ONLY
from lightning_interp.store.manifest import Status


@dataclass(frozen=True)
class FinishedAnalysis:
    """What a post-hoc analysis did.

    Attributes:
        run: The run, to read results from.
        observed: Steps observed now.
        pending: Names of measures that need a replica and had none.
        notices: Lines for the user.
        to_pass: Options the run was started with and that were not given here, as the command line writes them.
    """

    run: Run
    observed: tuple[int, ...]
    pending: tuple[str, ...]
    notices: tuple[str, ...]
    to_pass: tuple[str, ...] = ()


def analyze_run(
    run_dir: str | PathLike[str],
    *,
    module: Callable[[], nn.Module] | str | None = None,
    device: str = "auto",
    probe: Probe | None = None,
    probe_step: ProbeStep | str | None = None,
    measures: Sequence[MeasureSpec] = (),
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> FinishedAnalysis:
    """Observe every committed snapshot that lacks values, with the built-in measures the run was started with.

    Tensor components are finished, too, where the run was started with `tca`.

    Args:
        run_dir: Run directory; nothing in it is unpickled, and nothing it names is imported.
        module: Factory of the module, or ``pkg.mod:build``; None for weights and history only.
        device: Where to compute.
        probe: The probe where the run kept it out of its directory.
        probe_step: The user's way to outputs, or ``pkg.mod:fn``; needed again where the run had one.
        measures: Measures beside the run's built-in ones: the user's own have to be named again.
        on_progress: Told how many snapshots are observed, and of how many: before work starts and after each.

    Raises:
        RunError: This is no run directory, or another analyzer works on it.
        ConfigError: `module`, `probe_step` or a measure cannot be imported, the module does not take the run's weights, or
            `device` is not there. The directory is as it was then.
    """
    run = open_run(run_dir)
    check_device(device)
    asked = AnalysisRequest(module=module, device=device, probe=probe, probe_step=probe_step, measures=measures)
    order, to_pass = order_for(run.manifest, asked)
    used = order.request
    if used.module is not None:
        _check_factory(imported(used.module, "module"), run)
    with analyzer_lock(run.path, wait_s=1.0), working_apart():
        training = _training_now(run)
        analyzer = analyzer_for(run.path, order)
        analyzer.training = training
        if analyzer.probe_missing:
            analyzer.without_probe()
        observed = _observe_all(analyzer, on_progress)
        analyzer.finish("finished")
        notices = tuple(analyzer.state.notices)
    pending = () if used.module is not None else tuple(m.name for m in used.measures if needs_outputs(m))
    return FinishedAnalysis(run, observed, pending, notices, to_pass)


def _training_now(run: Run) -> Status:
    """Where the training stands: one that fell silent, or whose analyzer saw it go, could not say so itself."""
    status, standing = run.manifest.status, run.standing()
    if status != "training" or not standing.over:
        return status
    return "finished" if standing.broken_off_at is None else "interrupted"


def _observe_all(analyzer: Analyzer, on_progress: Callable[[int, int], None]) -> tuple[int, ...]:
    observed: list[int] = []
    total = len(analyzer.pending())

    def advance(step: int) -> None:
        observed.append(step)
        on_progress(len(observed), max(total, len(observed) + analyzer.state.pending))

    on_progress(0, total)
    analyzer.run_pending(on_step=advance)
    return tuple(dict.fromkeys(observed))


def order_for(manifest: Manifest, asked: AnalysisRequest) -> tuple[StartOrder, tuple[str, ...]]:
    """What the analyzer does, and what has to be passed for it to do all that the run was started with.

    Args:
        manifest: The run.
        asked: What is asked now; its measures are added to the run's built-in ones.
    """
    measures, to_pass = _measures(manifest, asked.measures)
    reason = "" if imported(asked.module, "module") is not None else f"{WEIGHTS_ONLY}: no module= was given"
    named = manifest.configuration.get("probe_step")
    if named is not None and asked.probe_step is None:
        to_pass += (f"--probe-step {named}",)
        # a guessed loss would be another quantity under the same names
        reason = reason or f"{WEIGHTS_ONLY}: the run's probe_step {named} was not given"
    outcome = _outcome(manifest)
    request = replace(
        asked,
        parameters=manifest.parameters,
        layers=manifest.activation_layers,
        measures=with_outcome(measures, outcome),
        task=_task(manifest),
        tca=_components(manifest),
        outcome=outcome,
        probe_step=imported(asked.probe_step, "probe_step"),
        module=None if reason else asked.module,
    )
    return StartOrder(request, without_replica=reason), to_pass


def imported(given: Any, argument: str) -> Any:
    """What the user gives, imported where it is a name."""
    if not isinstance(given, str):
        return given
    try:
        return import_object(given, argument=argument)
    except InterpError:
        raise
    except Exception as err:  # the user's file may raise anything while it is imported
        raise ConfigError(f"{argument}: importing {given!r} failed ({type(err).__name__}: {err}).") from err


def _check_factory(build: Callable[[], nn.Module], run: Run) -> None:
    """Refuse a module that does not take the run's weights, before anything is written."""
    for step in run.steps:
        try:
            FactorySource(build)(run.snapshot(step))
        except CorruptSnapshotError:
            continue  # the analyzer reports it; the next one tells as much about the module
        except ProbeError as err:
            raise ConfigError(str(err)) from err
        return


def _measures(manifest: Manifest, given: Sequence[MeasureSpec]) -> tuple[tuple[Measure, ...], tuple[str, ...]]:
    """The run's built-in measures and the given ones, and an option for each that the run had and is not here."""
    wanted = manifest.configuration.get("measures", "standard")
    if not fits(wanted, str | list[str]):
        raise RunError(
            f"run.json: the measures {shown(wanted)} are not understood; a name or a list of names was expected. "
            "Copy the run directory again."
        )
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    known = {"standard", *GROUPS} | {key for cls in STANDARD + FOURIER for key in (cls.name, *cls.names)}
    task = _task(manifest)
    own = resolve_measures([name for name in names if name in known], task=task)
    try:
        added = resolve_measures(list(given), task=task)
        used = resolve_measures([*own, *(measure for measure in added if measure.name not in {m.name for m in own})])
    except InterpError:
        raise
    except Exception as err:  # the user's own class or file may raise anything
        raise ConfigError(f"measures: {type(err).__name__}: {err}.") from err
    here = {key for m in used for key in (m.name, *m.names, f"{type(m).__module__}:{type(m).__qualname__}")}
    here |= {item for item in given if isinstance(item, str)}
    return used, tuple(f"--measures {name}" for name in names if name not in known | here)


def _components(manifest: Manifest) -> TCA | None:
    """The component analysis the run was started with."""
    entry: dict[str, Any] | None = manifest.configuration.get("tca")
    try:
        return None if entry is None else resolve_tca(TCA.from_plain(entry), manifest.activation_layers)
    except (ConfigError, TypeError) as err:
        raise RunError(
            f"run.json: the settings {entry!r} of tca are not understood ({err}). Copy the run directory again."
        ) from err


def _outcome(manifest: Manifest) -> Outcome | None:
    """The logged number that decides, as the run was started."""
    entry: dict[str, Any] | None = manifest.configuration.get("outcome")
    try:
        return None if entry is None else Outcome.from_plain(entry)
    except (ConfigError, TypeError) as err:
        raise RunError(f"run.json: the outcome {entry!r} is not understood ({err}). Copy the run directory again.") from err


def _task(manifest: Manifest) -> CyclicGroupTask | None:
    entry: dict[str, Any] | None = manifest.configuration.get("task")
    try:
        return None if entry is None else CyclicGroupTask(**{**entry, "operands": tuple(entry["operands"])})
    except (KeyError, TypeError) as err:
        raise RunError(f"run.json: the task {entry!r} is not understood ({err}). Copy the run directory again.") from err
