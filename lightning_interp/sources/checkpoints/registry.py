# SPDX-License-Identifier: Apache-2.0
"""The formats of checkpoints. One more is a module as `format` describes it, and a line here."""

from dataclasses import replace

from lightning_interp.sources.checkpoints import run_snapshots, safetensors_file, torch_averages, torch_save
from lightning_interp.sources.checkpoints.format import CheckpointFormat, Found, Place

FORMATS: tuple[CheckpointFormat, ...] = (
    run_snapshots,
    safetensors_file,  # before torch: of a folder that holds both, the file with nothing in it that could be run
    torch_save,
    torch_averages,
)
"""In the order in which they are tried."""


def found_at(place: Place) -> list[Found] | None:
    """The checkpoints that a place itself is, by the first format that knows it; None if none does.

    Raises:
        CheckpointError: The place is of a format, and damaged.
    """
    return next((found for each in FORMATS if (found := each.matches(place)) is not None), None)


def of_averages(found: Found) -> Found | None:
    """The same checkpoint, to be read for its averaged weights; None where its format has none."""
    return replace(found, kind=torch_averages.NAME) if found.kind == torch_save.NAME else None


def at_key(found: Found, key: str) -> Found | None:
    """The same checkpoint, its state dict at a key; None where its format has no keys."""
    return replace(found, key=key) if found.kind in (torch_save.NAME, torch_averages.NAME) else None


def format_named(name: str) -> CheckpointFormat:
    """The format that `Found.kind` names."""
    return next(each for each in FORMATS if name == each.NAME)


def known_suffixes() -> tuple[str, ...]:
    """Endings of the names of checkpoint files, the usual ones, which are tried last, first."""
    return tuple(suffix for each in reversed(FORMATS) for suffix in each.SUFFIXES)


def kinds_by_suffix() -> dict[str, str]:
    """Name of the format by the ending of a file's name."""
    return {suffix: each.NAME for each in FORMATS for suffix in each.SUFFIXES}
