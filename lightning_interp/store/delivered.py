# SPDX-License-Identifier: Apache-2.0
"""delivered.json: which W&B runs the results went to, and how far; what comes later is sent by `sync`.

Written by the training process while it runs, by `sync` afterwards.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lightning_interp.core.errors import RunError
from lightning_interp.core.records import Record
from lightning_interp.store.jsonl import read_lines
from lightning_interp.store.layout import DELIVERED, RECORDS, replace_text

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
    path, fields = run_dir / DELIVERED, WandbTarget.__dataclass_fields__
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            found = content["schema"]
            raise RunError(f"{path}: schema {found!r}, this version reads {SCHEMA}. Use the version that wrote it.")
        targets = tuple(WandbTarget(**{name: entry[name] for name in fields}) for entry in content["wandb"])
        return Delivered(int(content["step"]), tuple(content["names"]), targets, bool(content.get("delivers")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise RunError(f"{path}: cannot be read ({type(err).__name__}: {err}).") from err


def late_steps(run_dir: Path, target: WandbTarget, records: Sequence[Record]) -> list[int]:
    """Steps whose records a W&B run has not got: later than its latest row, or written since it was last supplied."""
    # A start of the training notes 0 before it has read anything: then the step alone decides.
    lines = read_lines(run_dir / RECORDS, target.read_bytes)[0] if target.read_bytes else []
    written = {line["step"] for line in lines}
    return [record.step for record in records if record.values and (record.step > target.step or record.step in written)]
