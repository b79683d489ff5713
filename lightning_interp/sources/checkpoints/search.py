# SPDX-License-Identifier: Apache-2.0
"""Finding checkpoints of every known format in files, folders and folders below them, here or at any fsspec URL."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch

from lightning_interp.core.errors import CheckpointError
from lightning_interp.sources.checkpoints.files import Files, files_at
from lightning_interp.sources.checkpoints.format import Found, Place, whole_number
from lightning_interp.sources.checkpoints.parts import INDEX, numbered_parts
from lightning_interp.sources.checkpoints.ranks import is_optimizer_piece, spread_over_ranks
from lightning_interp.sources.checkpoints.registry import found_at, known_suffixes
from lightning_interp.sources.checkpoints.step_names import compiled, epoch_in_name, step_in_name

_BESIDE = ("optimizer*", "scheduler*", "scaler*", "training_args*", "rng_state*", "random_states*", "frozen_*", "probe.*")
"""Files that lie beside weights and hold none."""
_TRAINER_STATE = "trainer_state.json"
_DEEPEST = 4
_MOST_FOUND = 100_000


@dataclass(frozen=True)
class Refused:
    """A checkpoint that is seen and cannot be read.

    Attributes:
        where: Where it lies.
        named_step: Step its name says, None if it says none.
        text: Why, and the way out.
    """

    where: str
    named_step: int | None
    text: str


def find_checkpoints(sources: Sequence[str], *, step_pattern: str | None = None) -> tuple[list[Found], list[Refused]]:
    """Every checkpoint under some sources, in order of the steps their names say, and those that cannot be read.

    Args:
        sources: Files, folders, run directories or fsspec URLs (``s3://bucket/run``).
        step_pattern: Regular expression with one group, the step; it is searched in the file's name, then in its folder's.

    Raises:
        ConfigError: A source is not there, or the pattern is no such expression.
        CheckpointError: A source holds no checkpoint at all.
    """
    pattern = compiled(step_pattern)
    found: dict[str, Found] = {}
    refused: dict[str, Refused] = {}
    for source in sources:
        files = files_at(source)
        seen = 0
        for each in _Search(files, pattern).under(files.root, depth=0, within=()):
            seen += 1
            if isinstance(each, Refused):
                refused[each.where] = each
            else:
                found[each.where] = each
        if not seen:
            kinds = ", ".join(known_suffixes())
            raise CheckpointError(
                f"{source}: no checkpoint there. Give files ({kinds}), folders of them, or a run directory."
            )
    ordered = sorted(found.values(), key=lambda each: (each.named_step is None, each.named_step or 0, each.where))
    return ordered, sorted(refused.values(), key=lambda each: each.where)


class _Search:
    """A walk through one tree; whatever is wrong at a place costs that place alone."""

    def __init__(self, files: Files, pattern: re.Pattern[str] | None) -> None:
        self._files, self._pattern = files, pattern
        self._suffixes = known_suffixes()

    def under(self, path: str, *, depth: int, within: tuple[str, ...]) -> Iterator[Found | Refused]:
        """Checkpoints at or under one path; `within` are the folders that lead there, to see links that go round."""
        try:
            if not self._files.is_folder(path):
                yield from self._at(Place(self._files, path, None, self._pattern))
                return
            here = self._files.identity(path)
            if here in within:
                yield self._refused(path, "a link to a folder above it, not followed")
                return
            names = frozenset(self._files.names(path))
        except OSError as err:
            yield self._refused(path, f"cannot be looked into ({err.strerror or err})")
            return
        yield from self._folder(Place(self._files, path, names, self._pattern), depth=depth, within=(*within, here))

    def _folder(self, place: Place, *, depth: int, within: tuple[str, ...]) -> Iterator[Found | Refused]:
        try:
            here = found_at(place)
        except CheckpointError as err:  # an index that cannot be used; what may be its parts is not looked at
            yield self._refused(place.path, _without(str(err), self._files.shown(place.path)))
            here, place = None, place.without_parts()
        if here is not None:
            yield from (self._with_state(place, each) for each in here)
            return
        names = place.names or frozenset()
        why = spread_over_ranks(names)
        if why is not None:
            yield self._refused(place.path, why)
            return
        parts = numbered_parts((name for name in names if not _is_beside(name)), self._suffixes)
        yield from self._parts(place, parts)
        grouped = {name for group, _ in parts.values() for name in group}
        for name in sorted(names - grouped):
            below = f"{place.path}/{name}"
            if self._is_folder(below):
                if depth < _DEEPEST:
                    yield from self.under(below, depth=depth + 1, within=within)
            elif (name.endswith(self._suffixes) and not _is_beside(name)) or (name.endswith(INDEX) and not _is_beside(name)):
                yield from self._at(Place(self._files, below, None, self._pattern))

    def _parts(self, place: Place, parts: dict[str, tuple[list[str], str | None]]) -> Iterator[Found | Refused]:
        """Parts without an index: joined where all are there. Several checkpoints in one folder go by their own names."""
        names = place.names or frozenset()
        for stem, (group, missing) in parts.items():
            if any(name.endswith(INDEX) and name.startswith(stem) for name in names):
                continue
            alone = len(parts) == 1
            path = place.path if alone else f"{place.path}/{stem}"
            if missing is not None:
                yield self._refused(path, f"parts of one checkpoint, and {missing}")
                continue
            (first,) = found_at(Place(self._files, f"{place.path}/{group[0]}", None, self._pattern)) or (None,)
            if first is not None:
                files = tuple(self._files.shown(f"{place.path}/{name}") for name in group)
                shown = self._files.shown(path)
                named = step_in_name(path, self._pattern), epoch_in_name(path)
                yield self._with_state(place, Found(shown, first.kind, files, *named))

    def _at(self, place: Place) -> Iterator[Found | Refused]:
        try:
            if not self._files.is_regular(place.path):
                yield self._refused(place.path, "no file with content of its own (a pipe, a device or a link to nothing)")
                return
            yield from found_at(place) or ()
        except CheckpointError as err:
            yield self._refused(place.path, _without(str(err), self._files.shown(place.path)))
        except OSError as err:
            yield self._refused(place.path, f"cannot be read ({err.strerror or err})")

    def _is_folder(self, path: str) -> bool:
        try:
            return self._files.is_folder(path)
        except OSError:
            return False

    def _with_state(self, place: Place, found: Found) -> Found:
        """With the step that transformers' Trainer notes beside the weights, where the name says none."""
        if found.named_step is not None or _TRAINER_STATE not in (place.names or ()):
            return found
        try:
            state = self._files.json(f"{place.path}/{_TRAINER_STATE}")
        except (CheckpointError, OSError):
            return found
        return replace(found, named_step=whole_number(state.get("global_step")))

    def _refused(self, path: str, text: str) -> Refused:
        return Refused(self._files.shown(path), step_in_name(path, self._pattern), text)


def _is_beside(name: str) -> bool:
    return is_optimizer_piece(name) or any(fnmatch(name, beside) for beside in _BESIDE)


def _without(text: str, where: str) -> str:
    return text.removeprefix(f"{where}: ").rstrip(".")
