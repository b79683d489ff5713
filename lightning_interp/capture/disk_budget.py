# SPDX-License-Identifier: Apache-2.0
"""Room for snapshots: what was observed goes as the retention says, and what has no room is not written."""

from collections.abc import Callable
from pathlib import Path

from lightning_interp.store.retention import Retention, remove_step, sizes_on_disk

_SCAN_SHARE = 0.02
"""The folders are scanned again once the run has grown by this share: a scan costs as many file-system calls as files."""


class DiskBudget:
    """Keeps a run directory under a cap. Every call is on the writer thread.

    Args:
        run_dir: Run directory.
        retention: What happens to observed snapshots.
        cap: Most bytes of snapshots and stored activations, None for no limit.
        observed_until: Latest step whose record is committed, -1 for none.
    """

    def __init__(
        self, run_dir: Path, *, retention: Retention, cap: int | None, observed_until: Callable[[], int] = lambda: -1
    ) -> None:
        self.cap = cap
        self.removed = 0
        self._run_dir, self._retention = run_dir, retention
        self._observed_until = observed_until
        self._known: int | None = None  # a resumed run has files already
        self._grown = 0.0

    def make_room(self, incoming: int) -> tuple[bool, list[int]]:
        """Let go of what may go, for `incoming` bytes about to be written.

        Returns:
            Whether there is room for them, and the steps that were removed for it.
        """
        if self._retention.kind != "last" and not self._is_tight(incoming):
            self._grown += incoming
            return True, []
        sizes = sizes_on_disk(self._run_dir)
        total, until = sum(sizes.values()), self._observed_until()
        excess = 0 if self.cap is None else total + incoming - self.cap
        gone = self._retention.gives_up(sizes, [step for step in sizes if step <= until], excess=excess)
        for step in gone:
            remove_step(self._run_dir, step)
        self.removed += len(gone)
        self._known, self._grown = total - sum(sizes[step] for step in gone), incoming
        return self.cap is None or total - sum(sizes[step] for step in gone) + incoming <= self.cap, gone

    def _is_tight(self, incoming: int) -> bool:
        """Whether the cap may be near; what the analyzer stores is at most found out a scan later."""
        if self.cap is None or self._known is None:
            return self.cap is not None
        return self._grown + incoming > _SCAN_SHARE * self.cap or self._known + self._grown + incoming > self.cap
