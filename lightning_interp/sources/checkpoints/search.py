# SPDX-License-Identifier: Apache-2.0
"""Finding checkpoints of every known format in files, folders and folders below them, here or at any fsspec URL."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatch

from lightning_interp.core.errors import CheckpointError
from lightning_interp.sources.checkpoints.files import Files, files_at
from lightning_interp.sources.checkpoints.foreign_files import packed_name, what_it_is
from lightning_interp.sources.checkpoints.format import Found, Place, Refused, whole_number
from lightning_interp.sources.checkpoints.parts import INDEX, counted_parts, is_part
from lightning_interp.sources.checkpoints.ranks import is_piece, rank_pieces
from lightning_interp.sources.checkpoints.registry import found_at, kinds_by_suffix, known_suffixes
from lightning_interp.sources.checkpoints.step_names import compiled

_BESIDE = ("optimizer*", "scheduler*", "scaler*", "training_args*", "rng_state*", "random_states*", "frozen_*", "probe.*")
"""Files and folders that lie beside weights and hold none."""
_TRAINER_STATE = "trainer_state.json"
_DEEPEST = 4
_OF_TRAINER = re.compile(r"(?:checkpoint|step|epoch)[-_]?\d+$")
"""Folders of checkpoints that Hugging Face's Trainer leaves beside the final weights."""


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
        for each in _Search(files, pattern).under(files.root, depth=0):
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
        self._seen = _around(files)

    def under(self, path: str, *, depth: int) -> Iterator[Found | Refused]:
        """Checkpoints at or under one path."""
        place = Place(self._files, path, None, self._pattern)
        try:
            if self._files.is_folder(path):
                yield from self._in_folder(path, depth=depth)
            elif depth == 0:
                yield from self._at_file(place)
            else:
                yield from self._at(place)
        except CheckpointError as err:
            yield place.refused(str(err).removeprefix(f"{self._files.shown(path)}: ").rstrip("."))
        except OSError as err:
            yield place.refused(f"cannot be looked into ({err.strerror or err})")

    def _in_folder(self, path: str, *, depth: int) -> Iterator[Found | Refused]:
        here = self._files.identity(path)
        if here in self._seen or self._is_found_anyway(path, here):
            place = Place(self._files, path, None, self._pattern)
            yield place.refused("a link to a folder above it, or to one that was looked through; not followed", kind="copy")
            return
        self._seen.add(here)
        place = Place(self._files, path, frozenset(self._files.names(path)), self._pattern)
        try:
            whole = found_at(place)
        except CheckpointError as err:  # an index that cannot be used; what may be its parts is not looked at
            yield place.refused(str(err).removeprefix(f"{self._files.shown(path)}: ").rstrip("."))
            whole, place = None, place.without_parts()
        names = place.names or frozenset()
        if whole is not None:
            yield from (self._with_state(place, each) for each in whole)
            yield from self._below(path, frozenset(filter(_OF_TRAINER.match, names)), depth=depth)
            return
        name = path.rpartition("/")[2]
        if depth == 0 and is_piece(name):
            yield from self._pieces_beside(place, name)
            return
        refused, pieces = rank_pieces(place, self._suffixes)
        yield from refused
        left = frozenset(each for each in names - pieces if not _is_beside(each))
        parts, refused, used = counted_parts(replace(place, names=left), kinds_by_suffix())
        yield from (self._with_state(place, each) for each in parts)
        yield from refused
        yield from self._below(path, left - used, depth=depth)

    def _is_found_anyway(self, path: str, here: str) -> bool:
        """Whether a folder is a link to one within the tree, which is looked through by its own name, earlier or later."""
        if path == self._files.root:
            return False
        above, _, name = path.rpartition("/")
        is_link = here != f"{self._files.identity(above)}/{name}"
        return is_link and here.startswith(f"{self._files.identity(self._files.root)}/")

    def _below(self, path: str, names: frozenset[str], *, depth: int) -> Iterator[Found | Refused]:
        """What the names in a folder lead to."""
        for name in sorted(names):
            below = f"{path}/{name}"
            if self._is_folder(below):
                if depth < _DEEPEST:
                    yield from self.under(below, depth=depth + 1)
            elif name.endswith((*self._suffixes, INDEX)):
                yield from self.under(below, depth=depth + 1)
            elif text := packed_name(name):
                yield Place(self._files, below, None, self._pattern).refused(text)

    def _at(self, place: Place) -> Iterator[Found | Refused]:
        if not self._files.is_regular(place.path):
            yield place.refused("no file with content of its own (a pipe, a device or a link to nothing)")
            return
        yield from found_at(place) or ()

    def _at_file(self, place: Place) -> Iterator[Found | Refused]:
        """A file that is a source of its own: with its other parts, if it is one of several."""
        name = place.path.rpartition("/")[2]
        if is_piece(name):
            yield from self._pieces_beside(place, name)
            return
        if is_part(name):
            folder = place.path.rpartition("/")[0] or "."
            around = Place(self._files, folder, frozenset(filter(is_part, self._files.names(folder))), self._pattern)
            parts, refused, used = counted_parts(around, kinds_by_suffix())
            if name in used:
                yield from (each for each in parts if self._files.shown(f"{folder}/{name}") in each.files)
                yield from refused
                return
        found = list(self._at(place))
        if not found and "://" not in self._files.shown(place.path) and (text := what_it_is(place.path)):
            yield place.refused(text)
        yield from found

    def _pieces_beside(self, place: Place, name: str) -> Iterator[Refused]:
        """The refusal of a piece that is a source of its own."""
        folder = place.path.rpartition("/")[0] or "."
        yield from rank_pieces(Place(self._files, folder, frozenset({name}), self._pattern), self._suffixes)[0]

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


def _around(files: Files) -> set[str]:
    """The folders around the root of a tree: a link to one of them leads out of it and back."""
    found: set[str] = set()
    path = files.identity(files.root)
    while (above := path.rpartition("/")[0]) and above != path:
        found.add(path := above)
    return found


def _is_beside(name: str) -> bool:
    return any(fnmatch(name, beside) for beside in _BESIDE)
