# SPDX-License-Identifier: Apache-2.0
"""Finding checkpoints of every known format in files, folders and folders below them, here or at any fsspec URL."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from lightning_interp.core.errors import CheckpointError
from lightning_interp.sources.checkpoints.files import Files, files_at
from lightning_interp.sources.checkpoints.format import Match, Place
from lightning_interp.sources.checkpoints.refused import refuse
from lightning_interp.sources.checkpoints.registry import known_suffixes, matches_at
from lightning_interp.sources.checkpoints.step_names import compiled, step_in_name

_BESIDE = ("optimizer*", "scheduler*", "scaler*", "training_args*", "rng_state*", "random_states*", "frozen_*", "probe.*")
"""Files that lie beside weights and hold none."""
_DEEPEST = 4


@dataclass(frozen=True)
class Found:
    """One checkpoint.

    Attributes:
        where: What the user is shown, and what later starts know it by.
        kind: Name of its format.
        files: The files its tensors lie in, as paths or URLs.
        named_step: Step its name says, None if it says none.
    """

    where: str
    kind: str
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
    pattern = compiled(step_pattern)
    found: list[Found] = []
    for source in sources:
        files = files_at(source)
        here = list(_under(files, files.root, pattern, depth=0))
        if not here:
            kinds = ", ".join(known_suffixes())
            raise CheckpointError(
                f"{source}: no checkpoint there. Give files ({kinds}), folders of them, or a run directory."
            )
        found += here
    unique = {each.where: each for each in found}
    return sorted(unique.values(), key=lambda each: (each.named_step is None, each.named_step or 0, each.where))


def _under(files: Files, path: str, pattern: re.Pattern[str] | None, *, depth: int) -> Iterator[Found]:
    """Checkpoints at or under one path."""
    if not files.is_folder(path):
        yield from _at(Place(files, path, None), pattern) or ()
        return
    place = Place(files, path, frozenset(files.names(path)))
    here = _at(place, pattern)
    if here is not None:
        yield from here
        return
    refuse(place)
    suffixes = known_suffixes()
    for name in sorted(place.names or ()):
        below = f"{path}/{name}"
        if files.is_folder(below):
            if depth < _DEEPEST:
                yield from _under(files, below, pattern, depth=depth + 1)
        elif name.endswith(suffixes) and not any(fnmatch(name, beside) for beside in _BESIDE):
            yield from _at(Place(files, below, None), pattern) or ()


def _at(place: Place, pattern: re.Pattern[str] | None) -> list[Found] | None:
    """Checkpoints that a place itself is, None if no format knows it."""
    if (known := matches_at(place)) is None:
        return None
    kind, matches = known
    return [_found(place.files, kind, match, pattern) for match in matches]


def _found(files: Files, kind: str, match: Match, pattern: re.Pattern[str] | None) -> Found:
    step = match.step if match.step is not None else step_in_name(match.path, pattern)
    return Found(files.shown(match.path), kind, tuple(files.shown(part) for part in match.parts), step)
