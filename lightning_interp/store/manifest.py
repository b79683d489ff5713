# SPDX-License-Identifier: Apache-2.0
"""run.json: what this run is, how it is watched, and each start of it. Written by the training process alone."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from lightning_interp.core.errors import RunError
from lightning_interp.core.typed_values import fields_of, misfit, shown
from lightning_interp.store.bounded_file import read_object
from lightning_interp.store.layout import MANIFEST, SCHEMA, replace_text
from lightning_interp.store.surviving_records import valid_until

_PROVENANCE = "provenance"
Status = Literal["training", "finished", "failed", "interrupted"]


@dataclass(frozen=True)
class Attempt:
    """One start of the training: its number, and the step it continued from (None for the first)."""

    attempt: int
    resumed_at: int | None = None


@dataclass(frozen=True)
class Provenance:
    """Where one start of the training came from.

    Attributes:
        attempt: Number of the start.
        command: Words of the command line, ``***`` for what could be a secret.
        directory: Working directory.
        repository: Folder of the git repository of the main script, else of the working directory; empty for none.
        commit: Full hash of the commit it was at, None where none is known.
        branch: Its branch, None where none was checked out.
        changed: Whether files that git knows differed from the commit, None where that is not known.
        seeds: Seeds by their names: that of torch's generator on the CPU, and of the environment's variables.
    """

    attempt: int = 0
    command: tuple[str, ...] = ()
    directory: str = ""
    repository: str = ""
    commit: str | None = None
    branch: str | None = None
    changed: bool | None = None
    seeds: Mapping[str, int] = field(default_factory=dict)

    @property
    def code(self) -> str:
        """The commit for people, empty where none is known.

        >>> Provenance(commit="0123456789abcdef0123456789abcdef01234567", branch="main", changed=True).code
        'commit 0123456789ab (main) and changes that are not in it'
        """
        if self.commit is None:
            return ""
        unknown = ", changes to it not known" if self.changed is None else ""
        branch = f" ({self.branch})" if self.branch else ""
        return f"commit {self.commit[:12]}{branch}{' and changes that are not in it' if self.changed else unknown}"


@dataclass(frozen=True)
class Manifest:
    """Content of run.json.

    Attributes:
        run_id: Random name of the run; a checkpoint knows it, so that it finds its own directory again.
        created: UTC time of the first start, ISO 8601.
        layers: Names that per-layer values refer to, in order: activation layers, then selected matrices.
        activation_layers: The part of `layers` that are activations.
        parameters: Selected state_dict names.
        module_class: Class of the module, for people; never imported.
        configuration: Arguments of the monitor in plain values.
        versions: Package versions of the training process.
        probe: Hash, sizes and origin of the probe; empty until it is known.
        attempts: Every start of the training.
        status: Where the training stands.
        provenance: Where each start came from, as far as it is known.
        schema: Version of the format.
    """

    run_id: str
    created: str
    layers: tuple[str, ...]
    activation_layers: tuple[str, ...]
    parameters: tuple[str, ...]
    module_class: str
    configuration: Mapping[str, Any]
    versions: Mapping[str, str]
    probe: Mapping[str, Any] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = (Attempt(0),)
    status: Status = "training"
    schema: int = SCHEMA
    provenance: tuple[Provenance, ...] = ()

    @property
    def attempt(self) -> int:
        """Number of the latest start."""
        return self.attempts[-1].attempt

    def resumed(self, step: int) -> "Manifest":
        """The manifest after one more start that continues from `step`."""
        return replace(self, attempts=(*self.attempts, Attempt(self.attempt + 1, step)), status="training")

    def valid_until(self, attempt: int) -> int | None:
        """Last step of an attempt that later starts did not take back; None where all of it stands."""
        return valid_until(attempt, self.resumed_steps)

    @property
    def resumed_steps(self) -> dict[int, int]:
        """Step each later start continued from, by its number."""
        return resumed_steps(self.attempts)


_KINDS = {**fields_of(Manifest), "attempts": list[Mapping[str, Any]], "provenance": Any}
"""As JSON has them; entries of `attempts` are looked at one by one, those of `provenance` decide nothing."""


def write_manifest(run_dir: Path, manifest: Manifest) -> None:
    """Replace run.json in one step."""
    content = asdict(manifest)
    # Inside the configuration: readers of earlier versions refuse names beside it that they do not know.
    if known := content.pop(_PROVENANCE):
        content["configuration"] |= {_PROVENANCE: known}
    replace_text(run_dir / MANIFEST, json.dumps(content, indent=1))


def read_manifest(run_dir: Path) -> Manifest:
    """Read run.json.

    Raises:
        RunError: This is no run directory, or one of another schema.
    """
    path = run_dir / MANIFEST
    content = read_object(path)
    if content is None:
        raise RunError(f"{run_dir}: not a run directory (no {MANIFEST}). Give the folder the monitor printed.")
    if content.get("schema") != SCHEMA:
        found = shown(content.get("schema"))
        raise RunError(f"{path}: schema {found}, this version reads {SCHEMA}. Use the version that wrote it.")
    if wrong := misfit(content, _KINDS):
        raise RunError(f"{path}: {wrong}. Copy the run directory again.")
    try:
        attempts = attempts_in(path, content.pop("attempts"))
        content |= {key: tuple(content[key]) for key in ("layers", "activation_layers", "parameters")}
        provenance = _provenance(content["configuration"].pop(_PROVENANCE, ()))
        return Manifest(**content, attempts=attempts, provenance=provenance)
    except (KeyError, TypeError, AttributeError) as err:
        raise RunError(f"{path}: unexpected content ({type(err).__name__}: {err}).") from err


def attempts_in(path: Path, entries: Any) -> tuple[Attempt, ...]:
    """The starts of a training that run.json names.

    Args:
        path: The file, for messages.
        entries: What it holds as `attempts`.

    Raises:
        RunError: It names none, or in another form.
    """
    kinds = fields_of(Attempt)
    if not entries or misfit({"attempts": entries}, {"attempts": list[Mapping[str, Any]]}):
        raise RunError(f"{path}: `attempts` should be a list of starts, not {shown(entries)}. Copy the run directory again.")
    for entry in entries:
        wrong = misfit(entry, kinds) if kinds.keys() == entry.keys() else f"a start has {', '.join(map(str, entry))}"
        if wrong:
            raise RunError(f"{path}: in `attempts`, {wrong}. Copy the run directory again.")
    return tuple(Attempt(**entry) for entry in entries)


def resumed_steps(attempts: Iterable[Attempt]) -> dict[int, int]:
    """Step each later start continued from, by its number."""
    return {entry.attempt: entry.resumed_at for entry in attempts if entry.resumed_at is not None}


def _provenance(entries: Any) -> tuple[Provenance, ...]:
    """What run.json says of where the starts came from; entries of another form are left out, they decide nothing."""
    found = []
    for entry in entries if isinstance(entries, list) else ():
        with suppress(TypeError, ValueError, KeyError, AttributeError, OverflowError):
            found.append(
                Provenance(
                    attempt=int(entry["attempt"]),
                    command=tuple(map(str, entry["command"])),
                    directory=str(entry["directory"]),
                    repository=str(entry["repository"]),
                    commit=None if entry["commit"] is None else str(entry["commit"]),
                    branch=None if entry["branch"] is None else str(entry["branch"]),
                    changed=entry["changed"] if isinstance(entry["changed"], bool) else None,
                    seeds={str(name): int(seed) for name, seed in entry["seeds"].items()},
                )
            )
    return tuple(found)


def holds_run(directory: Path) -> bool:
    """Whether a directory is already a run directory."""
    return (directory / MANIFEST).exists()
