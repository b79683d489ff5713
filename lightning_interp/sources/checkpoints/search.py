# SPDX-License-Identifier: Apache-2.0
"""Finding checkpoints of every known format in files, folders and folders below them, here or at any fsspec URL."""

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch

from lightning_interp.core.errors import CheckpointError
from lightning_interp.sources.checkpoints.files import Files, files_at
from lightning_interp.sources.checkpoints.format import Found, Place
from lightning_interp.sources.checkpoints.parts import refuse_ranks
from lightning_interp.sources.checkpoints.registry import found_at, known_suffixes
from lightning_interp.sources.checkpoints.step_names import compiled

_BESIDE = ("optimizer*", "scheduler*", "scaler*", "training_args*", "rng_state*", "random_states*", "frozen_*", "probe.*")
"""Files that lie beside weights and hold none."""
_DEEPEST = 4


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
        yield from found_at(Place(files, path, None, pattern)) or ()
        return
    place = Place(files, path, frozenset(files.names(path)), pattern)
    here = found_at(place)
    if here is not None:
        yield from here
        return
    refuse_ranks(place)
    suffixes = known_suffixes()
    for name in sorted(place.names or ()):
        below = f"{path}/{name}"
        if files.is_folder(below):
            if depth < _DEEPEST:
                yield from _under(files, below, pattern, depth=depth + 1)
        elif name.endswith(suffixes) and not any(fnmatch(name, beside) for beside in _BESIDE):
            yield from found_at(Place(files, below, None, pattern)) or ()
