# SPDX-License-Identifier: Apache-2.0
"""Opening a run directory for a training that starts, or finding the one it continues."""

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn

from lightning_interp.config.monitor_config import MonitorConfig, Resolved
from lightning_interp.config.provenance import provenance_now
from lightning_interp.core.errors import ConfigError, RunError
from lightning_interp.core.names import strip_wrappers
from lightning_interp.store import Attempt, Manifest, analyzer_lock, holds_run, read_manifest, resume_run, write_manifest

STATE_VERSION = 1
_ANALYZER_WAIT_S = 10.0
_PACKAGES = ("lightning-interp", "torch", "lightning", "numpy", "scipy", "safetensors", "tensorly", "wandb")


@dataclass(frozen=True)
class Progress:
    """What a checkpoint remembers of the monitor; plain values, so that any checkpoint reader takes it.

    Attributes:
        run_dir: Run directory.
        run_id: Its random name.
        last_step: Latest scheduled step that was handed to the writer.
        attempt: Number of the start of the training.
        dropped: Steps known to be neither written nor waiting when the checkpoint was made.
        delivered_step: Latest step whose results loggers got, -1 for none.
        announced: Phases told so far, each (name, start, end or None).
        alarmed: Alarms raised so far, each (name, optimizer step).
    """

    run_dir: str
    run_id: str
    last_step: int
    attempt: int
    dropped: tuple[int, ...] = ()
    delivered_step: int = -1
    announced: tuple[tuple[str, int, int | None], ...] = ()
    alarmed: tuple[tuple[str, int], ...] = ()

    def state_dict(self) -> dict[str, Any]:
        """Plain Python values."""
        told = {name: [list(each) for each in getattr(self, name)] for name in ("announced", "alarmed")}
        return {**vars(self), "dropped": list(self.dropped), **told, "version": STATE_VERSION}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Progress | None":
        """What a checkpoint remembers, None where it holds nothing of ours."""
        if state.get("version") != STATE_VERSION:
            return None
        fields = {name: state[name] for name in cls.__dataclass_fields__ if name != "alarmed"}
        announced = tuple((name, start, end) for name, start, end in state["announced"])
        alarmed = tuple((name, step) for name, step in state.get("alarmed", ()))  # of an earlier version there are none
        return cls(**fields | {"dropped": tuple(state["dropped"]), "announced": announced, "alarmed": alarmed})


@dataclass(frozen=True)
class RunStart:
    """The run directory of a training and where it continues.

    Attributes:
        run_dir: Run directory.
        manifest: Its manifest, already on disk.
        last_step: Latest step already captured, -1 for none.
        resumed: Whether an earlier start is continued.
    """

    run_dir: Path
    manifest: Manifest
    last_step: int
    resumed: bool

    def mark_failed(self) -> None:
        """Put into run.json that this start failed, so that it does not say for ever that this trains."""
        with suppress(OSError):
            write_manifest(self.run_dir, replace(self.manifest, status="failed", probe={"status": "none"}))


def state_of_run(states: Mapping[str, Any], dirpath: str | os.PathLike[str] | None, *, alone: bool) -> dict[str, Any]:
    """A monitor's state in a checkpoint that holds none under its name; empty where none fits.

    Args:
        states: What callbacks left in the checkpoint, by their names.
        dirpath: Directory asked for: the state of the run in it fits.
        alone: Whether this is the trainer's only monitor: then the checkpoint's only one fits, too.
    """
    ours = [state for state in states.values() if isinstance(state, Mapping) and {"run_id", "version"} <= state.keys()]
    if dirpath is not None and holds_run(Path(dirpath)):
        run_id = read_manifest(Path(dirpath)).run_id
        return next((dict(state) for state in ours if state["run_id"] == run_id), {})
    return dict(ours[0]) if alone and len(ours) == 1 else {}


def default_directory(root: Path) -> Path:
    """A new directory under `interp_runs/`, named by UTC time and six random hexadecimal digits."""
    # `secrets` draws from the operating system: no random stream of the training moves.
    return root / "interp_runs" / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def choose_directory(config: MonitorConfig, root: Path, progress: Progress | None) -> Path:
    """The directory this training writes to: the checkpoint's own, else the one asked for, else a new one."""
    if progress is not None and not _holds(config.dirpath, progress.run_id) and holds_run(Path(progress.run_dir)):
        return Path(progress.run_dir).absolute()
    return (Path(config.dirpath) if config.dirpath is not None else default_directory(root)).absolute()


def _holds(directory: str | os.PathLike[str] | None, run_id: str) -> bool:
    """Whether a directory holds this very run: it may have been copied to where the training goes on."""
    return directory is not None and holds_run(Path(directory)) and read_manifest(Path(directory)).run_id == run_id


def as_begun(config: MonitorConfig, directory: Path, progress: Progress | None, module: nn.Module) -> MonitorConfig:
    """The configuration of a run that is continued: where the user names nothing, it watches what it began with.

    An earlier release may have chosen other layers and parameters by itself, and rows of one run have one order.

    Args:
        config: What was asked for.
        directory: From `choose_directory`.
        progress: What the checkpoint remembers.
        module: The module; what the run began with is not asked of one that lacks it.
    """
    if progress is None or not _holds(directory, progress.run_id):
        return config
    known, asked = read_manifest(directory), config.request
    modules = {strip_wrappers(name) for name, _ in module.named_modules()}
    parameters = {strip_wrappers(name) for name, _ in module.named_parameters()}
    if asked.layers is None and known.activation_layers and modules.issuperset(known.activation_layers):
        asked = replace(asked, layers=known.activation_layers)
    if asked.parameters == "*" and known.parameters and parameters.issuperset(known.parameters):
        asked = replace(asked, parameters=known.parameters)
    return replace(config, request=asked)


def open_directory(directory: Path, manifest: Manifest, *, step: int, progress: Progress | None) -> RunStart:
    """Start or continue a run directory.

    Args:
        directory: From `choose_directory`.
        manifest: What to write if the run is new.
        step: Optimizer step the training starts from.
        progress: What the checkpoint remembers.

    Raises:
        ConfigError: The directory holds another run, or cannot be written.
    """
    if not holds_run(directory):
        return _create(directory, manifest)
    known = read_manifest(directory)
    if progress is None:
        raise ConfigError(
            f"dirpath: {directory} already holds the run {known.run_id} of {known.created}. To continue it, pass its "
            "checkpoint as trainer.fit(ckpt_path=...); for a new run choose another dirpath (or leave it out)."
        )
    if progress is not None and progress.run_id != known.run_id:
        raise ConfigError(
            f"dirpath: {directory} holds the run {known.run_id}, but the checkpoint belongs to {progress.run_id}. "
            "Choose another dirpath, or resume from a checkpoint of that run."
        )
    _check_same_watch(directory, known, manifest)
    _wait_for_analyzer(directory)
    resumed = replace(resume_run(directory, step), configuration=manifest.configuration)
    origins = (replace(origin, attempt=resumed.attempt) for origin in manifest.provenance)
    resumed = replace(resumed, provenance=(*resumed.provenance, *origins))
    write_manifest(directory, resumed)
    return RunStart(directory, resumed, progress.last_step, resumed=True)


def _check_same_watch(directory: Path, known: Manifest, wanted: Manifest) -> None:
    """Refuse other layers or parameters: the rows of one run have one order."""
    for argument in ("activation_layers", "parameters"):
        before, now = getattr(known, argument), getattr(wanted, argument)
        if before != now:
            raise ConfigError(
                f"{argument.removeprefix('activation_')}: the run in {directory} was started with {', '.join(before)}, now "
                f"it would be {', '.join(now)}. Pass the same to continue it, or choose another dirpath."
            )


def _wait_for_analyzer(directory: Path) -> None:
    """Let the analyzer of a killed training end its snapshot, so that it commits nothing after the resume.

    Where it takes longer, the resume goes ahead: readers drop what an earlier start writes beyond it.
    """
    with suppress(RunError), analyzer_lock(directory, wait_s=_ANALYZER_WAIT_S):
        return


def new_manifest(
    config: MonitorConfig, resolved: Resolved, module: nn.Module, *, trainer: Mapping[str, float] = MappingProxyType({})
) -> Manifest:
    """run.json of a run that starts now.

    Args:
        config: As the user wrote it.
        resolved: What it stands for.
        module: The module in training.
        trainer: Numbers of its Trainer that a step may read, also when the analysis goes on without one.
    """
    asked = resolved.request
    return Manifest(
        run_id=secrets.token_hex(6),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        layers=asked.layers + resolved.matrices,
        activation_layers=asked.layers,
        parameters=asked.parameters,
        module_class=f"{type(module).__module__}.{type(module).__qualname__}",
        configuration=config.plain() | ({"trainer": dict(trainer)} if trainer else {}),
        versions=package_versions(),
        probe={"status": "pending"},
        attempts=(Attempt(0),),
        provenance=(provenance_now(),),
    )


def _create(directory: Path, manifest: Manifest) -> RunStart:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_manifest(directory, manifest)
    except OSError as err:
        raise ConfigError(
            f"dirpath: {directory} cannot be written ({err.strerror or err}). Free space there, or choose another dirpath."
        ) from err
    return RunStart(directory, manifest, -1, resumed=False)


def package_versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
