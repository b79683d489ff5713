# SPDX-License-Identifier: Apache-2.0
"""Whether the code of a run differs from its commit: git is asked beside the training, and run.json told when it answers."""

import threading
from contextlib import suppress
from dataclasses import replace

from lightning_interp.config.provenance import changes_of
from lightning_interp.monitor.probe_collection import ProbeCollection
from lightning_interp.store import Manifest

LAST_WORD_S = 1.0
"""Longest the end of a run waits for git."""


class CodeChanges:
    """Asks git about one run, on a thread of its own.

    Args:
        keeper: Has the manifest.
    """

    def __init__(self, keeper: ProbeCollection) -> None:
        self._keeper = keeper
        self._thread: threading.Thread | None = None

    def ask(self) -> None:
        """Begin; returns at once."""
        origins = self._keeper.manifest.provenance
        if origins and origins[-1].commit is not None:
            with suppress(RuntimeError):  # no more threads
                thread = threading.Thread(target=self._ask, name="interp-git", daemon=True)
                thread.start()
                self._thread = thread

    def finish(self) -> None:
        """Wait a moment for an answer that has not come."""
        if self._thread is not None:
            self._thread.join(LAST_WORD_S)

    def _ask(self) -> None:
        changed = changes_of(self._keeper.manifest.provenance[-1])

        def with_answer(manifest: Manifest) -> Manifest:
            *earlier, origin = manifest.provenance
            return replace(manifest, provenance=(*earlier, replace(origin, changed=changed)))

        self._keeper.amend(with_answer)
