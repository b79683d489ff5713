# SPDX-License-Identifier: Apache-2.0
"""Finding checkpoints: files, folders of files, folders in the Hugging Face layout, run directories, any fsspec URL."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Literal

from lightning_interp.core.errors import CheckpointError, ConfigError
from lightning_interp.sources.checkpoints.files import Files, files_at
from lightning_interp.store.layout import MANIFEST, SNAPSHOTS

Kind = Literal["torch", "safetensors", "snapshot"]

STEP_PATTERN = r"(?:global_?step|step|checkpoint|iteration|iter|it|ckpt)[-_=]?(\d+)"
"""Where a name has the step, unless the user says otherwise; failing that, the last number in it."""

_KINDS: dict[str, Kind] = {
    ".ckpt": "torch",
    ".pt": "torch",
    ".pth": "torch",
    ".bin": "torch",
    ".safetensors": "safetensors",
}
_INDEX = ".index.json"
_WHOLE = ("model.safetensors", "pytorch_model.bin")
"""Files that make a folder one checkpoint (the Hugging Face layout); with the suffix above, the index of its parts."""
_BESIDE = ("optimizer*", "scheduler*", "scaler*", "training_args*", "rng_state*", "random_states*", "frozen_*", "probe.*")
"""Files that lie beside weights and hold none."""
_DEEPEST = 4


@dataclass(frozen=True)
class Found:
    """One checkpoint.

    Attributes:
        where: What the user is shown, and what later starts know it by.
        kind: How it is read.
        files: The files its tensors lie in, as paths or URLs.
        named_step: Step its name says, None where it says none.
    """

    where: str
    kind: Kind
    files: tuple[str, ...]
    named_step: int | None


def find_checkpoints(sources: Sequence[str], *, step_pattern: str | None = None) -> list[Found]:
    """Every checkpoint under some sources, in order of the steps their names say.

    Args:
        sources: Files, folders, run directories or fsspec URLs (``s3://bucket/run``).
        step_pattern: Regular expression with one group, the step; it is searched in the file's name, then in its folder's.

    Raises:
        ConfigError: A source is not there, or the pattern is no such expression.
        CheckpointError: A source holds no checkpoint, or one in a layout that is not read.
    """
    pattern = _compiled(step_pattern)
    found: list[Found] = []
    for source in sources:
        files = files_at(source)
        here = list(_under(files, files.root, pattern, depth=0))
        if not here:
            kinds = ", ".join(_KINDS)
            raise CheckpointError(
                f"{source}: no checkpoint there. Give files ({kinds}), folders of them, or a run directory."
            )
        found += here
    unique = {each.where: each for each in found}
    return sorted(unique.values(), key=lambda each: (each.named_step is None, each.named_step or 0, each.where))


def step_in_name(path: str, pattern: re.Pattern[str] | None = None) -> int | None:
    """Step that a path says: in the file's name, else in its folder's.

    >>> step_in_name("runs/epoch=3-step=500.ckpt"), step_in_name("step1000/model.safetensors"), step_in_name("last.ckpt")
    (500, 1000, None)
    """
    parts = path.rstrip("/").split("/")
    names = [re.sub(r"\.\w+$", "", parts[-1]), *parts[-2:-1]]
    for name in names:
        if match := (pattern or _STEP).search(name):
            return int(match.group(1))
    numbers = re.findall(r"\d+", names[0]) if pattern is None else []
    return int(numbers[-1]) if numbers else None


def _compiled(step_pattern: str | None) -> re.Pattern[str] | None:
    if step_pattern is None:
        return None
    try:
        pattern = re.compile(step_pattern)
    except re.error as err:
        raise ConfigError(f"step_pattern: {step_pattern!r} is no regular expression ({err}).") from err
    if pattern.groups != 1:
        raise ConfigError(f"step_pattern: {step_pattern!r} has {pattern.groups} groups; put the step, and it alone, in ( ).")
    return pattern


def _under(files: Files, path: str, pattern: re.Pattern[str] | None, *, depth: int) -> Iterator[Found]:
    """Checkpoints at or under one path."""
    if not files.is_folder(path):
        yield from _file(files, path, pattern)
        return
    names = files.names(path)
    if MANIFEST in names and SNAPSHOTS in names:
        yield from _snapshots(files, path)
        return
    if whole := _whole(files, path, names):
        yield Found(files.shown(path), whole[0], whole[1], step_in_name(path, pattern))
        return
    if ".metadata" in names or ("latest" in names and any(name.startswith("global_step") for name in names)):
        raise CheckpointError(
            f"{files.shown(path)}: a checkpoint spread over ranks (DCP or DeepSpeed), which is not read. Merge it first "
            "(torch.distributed.checkpoint.format_utils, or zero_to_fp32.py) and give the result."
        )
    for name in sorted(names):
        below = f"{path}/{name}"
        if files.is_folder(below):
            if depth < _DEEPEST:
                yield from _under(files, below, pattern, depth=depth + 1)
        elif _kind(name) is not None and not any(fnmatch(name, beside) for beside in _BESIDE):
            yield from _file(files, below, pattern)


def _file(files: Files, path: str, pattern: re.Pattern[str] | None) -> Iterator[Found]:
    name = path.rsplit("/", 1)[-1]
    if name.endswith(_INDEX):
        yield Found(files.shown(path), _parts_kind(name), _parts(files, path), step_in_name(path, pattern))
    elif kind := _kind(name):
        yield Found(files.shown(path), kind, (files.shown(path),), step_in_name(path, pattern))


def _snapshots(files: Files, path: str) -> Iterator[Found]:
    folder = f"{path}/{SNAPSHOTS}"
    for name in sorted(files.names(folder)):
        if name.startswith("step_") and name.endswith(".safetensors"):
            where = files.shown(f"{folder}/{name}")
            yield Found(where, "snapshot", (where,), step_in_name(name))


def _whole(files: Files, path: str, names: set[str]) -> tuple[Kind, tuple[str, ...]] | None:
    """Kind and files of a folder that is one checkpoint."""
    for name in _WHOLE:
        if name in names:
            return _KINDS[f".{name.rsplit('.', 1)[1]}"], (files.shown(f"{path}/{name}"),)
        if f"{name}{_INDEX}" in names:
            return _parts_kind(name), _parts(files, f"{path}/{name}{_INDEX}")
    return None


def _parts_kind(name: str) -> Kind:
    return "safetensors" if ".safetensors" in name else "torch"


def _parts(files: Files, index: str) -> tuple[str, ...]:
    """Files that an index names; only names of files beside it count."""
    weights = files.json(index).get("weight_map")
    folder = index.rsplit("/", 1)[0]
    names = sorted(set(weights.values())) if isinstance(weights, dict) else []
    if not names or not all(isinstance(name, str) and name and "/" not in name and "\\" not in name for name in names):
        raise CheckpointError(
            f"{files.shown(index)}: no usable `weight_map`, or one that leaves its folder. Restore the file."
        )
    return tuple(files.shown(f"{folder}/{name}") for name in names)


def _kind(name: str) -> Kind | None:
    return next((kind for suffix, kind in _KINDS.items() if name.endswith(suffix)), None)


_STEP = re.compile(STEP_PATTERN, re.IGNORECASE)
