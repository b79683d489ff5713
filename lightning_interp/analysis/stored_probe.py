# SPDX-License-Identifier: Apache-2.0
"""The probe in the run directory, with its batches as what they were where their classes are at hand."""

import time
from collections.abc import Callable
from pathlib import Path

from lightning_interp.analysis.packed_types import KnownTypes, PackedTypes
from lightning_interp.core.batch_types import missing_types
from lightning_interp.core.records import Probe
from lightning_interp.store.probe_file import batch_types, read_probe

_PATIENCE_S = 20.0
"""The classes of a probe are sent before it is written: longer than this they are not on their way."""


class StoredProbe:
    """Reads the probe as soon as it is there and all is known of the classes of its batches.

    Args:
        run_dir: Run directory.
        packed: Classes that the training sent; None for an analysis started by hand.
        has_module: Whether the module is at hand, and with it what it imported.
        notice: Told what stands in for what.
    """

    def __init__(
        self, run_dir: Path, packed: PackedTypes | None, *, has_module: bool, notice: Callable[[str], None]
    ) -> None:
        self._run_dir, self._notice = run_dir, notice
        self._types = KnownTypes(packed, looks_around=has_module)
        self._first_seen: float | None = None

    def learn(self, packed: PackedTypes) -> None:
        """Classes of batches that were collected while the training ran."""
        self._types.learn(packed)

    def read(self) -> Probe | None:
        """The probe, None while it is not there."""
        if self._waits():
            return None
        probe = read_probe(self._run_dir, self._types.find)
        missing = missing_types(probe) if probe is not None else []
        if missing and self._waits():  # the probe came after the first look
            return None
        if missing:
            names = ", ".join(name.replace(":", ".") for name in missing)
            self._notice(
                f"batches of the probe are {names}, not at hand here: plain mappings with the same entries stand in"
            )
        return probe

    def _waits(self) -> bool:
        names = batch_types(self._run_dir) if self._types.expects_more else ()
        if all(self._types.is_known(name) for name in names):
            return False
        self._first_seen = self._first_seen or time.monotonic()
        return time.monotonic() - self._first_seen < _PATIENCE_S
