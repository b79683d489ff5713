# SPDX-License-Identifier: Apache-2.0
"""delivered.json: which W&B runs the results went to, and how far; what comes later is sent by `sync`.

Written by the training process while it runs, by `sync` afterwards.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lightning_interp.core.errors import RunError
from lightning_interp.core.records import Record
from lightning_interp.core.typed_values import fields_of, misfit, shown
from lightning_interp.store.bounded_file import read_object
from lightning_interp.store.layout import DELIVERED, replace_text
from lightning_interp.store.recordlog import read_rows

SCHEMA = 1


@dataclass(frozen=True)
class WandbTarget:
    """A W&B run and how far it is supplied.

    Attributes:
        entity: User or team, None for the default one.
        project: Project, None for W&B's own choice.
        run_id: Id of the run within the project; empty for a run that is yet to begin.
        name: Name people see.
        url: Its page, None where it is offline.
        mode: ``online``, ``offline`` or another of W&B's modes.
        files_dir: Folder W&B wrote to on the machine that trained.
        step: Optimizer step of the latest row it took, -1 for none.
        read_bytes: Bytes of records.jsonl that were read by then; a line beyond them is new, whatever its step.
        outcome_step: Optimizer step up to which summary, figures and files were sent, -1 for none.
    """

    entity: str | None
    project: str | None
    run_id: str
    name: str | None = None
    url: str | None = None
    mode: str = "online"
    files_dir: str | None = None
    step: int = -1
    read_bytes: int = 0
    outcome_step: int = -1

    @property
    def place(self) -> str:
        """Where it is, in words."""
        return "/".join(part for part in (self.entity, self.project, self.run_id) if part)

    def is_same_run(self, other: "WandbTarget") -> bool:
        """Whether both name one run; an entity or project that is left open fits any."""
        pairs = ((self.entity, other.entity), (self.project, other.project))
        return self.run_id == other.run_id and all(None in pair or pair[0] == pair[1] for pair in pairs)


@dataclass(frozen=True)
class Delivered:
    """Content of delivered.json.

    Attributes:
        step: Optimizer step of the latest row that loggers got, -1 for none.
        names: Record names that loggers get, in the order of a row.
        wandb: W&B runs among the loggers, and those that earlier starts or `sync` supplied.
        delivers: Whether the training that wrote it may still deliver.
    """

    step: int
    names: tuple[str, ...]
    wandb: tuple[WandbTarget, ...] = ()
    delivers: bool = False

    def with_target(self, target: WandbTarget) -> "Delivered":
        """The same with one W&B run as it is now."""
        others = tuple(known for known in self.wandb if not known.is_same_run(target))
        return replace(self, wandb=(*others, target))


def write_delivered(run_dir: Path, delivered: Delivered) -> None:
    """Replace delivered.json in one step.

    Raises:
        OSError: It cannot be written.
    """
    replace_text(run_dir / DELIVERED, json.dumps({"schema": SCHEMA, **asdict(delivered)}, indent=1))


def read_delivered(run_dir: Path) -> Delivered | None:
    """Read delivered.json, None where there is none: nothing was delivered, or by an earlier version.

    Raises:
        RunError: It cannot be read, or is of another schema.
    """
    path = run_dir / DELIVERED
    content = read_object(path)
    if content is None:
        return None
    if content.get("schema") != SCHEMA:
        found = shown(content.get("schema"))
        raise RunError(f"{path}: schema {found}, this version reads {SCHEMA}. Use the version that wrote it.")
    _check(path, content, {**fields_of(Delivered), "wandb": list[Mapping[str, Any]]}, optional=("delivers",))
    kinds = fields_of(WandbTarget)
    for entry in content["wandb"]:
        _check(path, entry, kinds)
    targets = tuple(WandbTarget(**{name: entry[name] for name in kinds}) for entry in content["wandb"])
    return Delivered(content["step"], tuple(content["names"]), targets, content.get("delivers", False))


def _check(path: Path, content: Mapping[str, Any], kinds: Mapping[str, Any], *, optional: Sequence[str] = ()) -> None:
    missing = next((name for name in kinds if name not in content and name not in optional), None)
    if wrong := misfit(content, kinds) if missing is None else f"no `{missing}`":
        raise RunError(f"{path}: {wrong}. Copy the run directory again, or move the file away: nothing was delivered then.")


def late_steps(run_dir: Path, target: WandbTarget, records: Sequence[Record]) -> list[int]:
    """Steps whose records a W&B run has not got: later than its latest row, or written since it was last supplied."""
    # A start of the training notes 0 before it has read anything: then the step alone decides.
    lines = read_rows(run_dir, target.read_bytes)[0] if target.read_bytes > 0 else []
    written = {line["step"] for line in lines}
    return [record.step for record in records if record.values and (record.step > target.step or record.step in written)]
