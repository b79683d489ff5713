# SPDX-License-Identifier: Apache-2.0
"""The working day of an analyzer process: hear orders, wait for a slot, observe, until told to finish or left alone."""

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from lightning_interp.analysis.analyzer import Analyzer
from lightning_interp.analysis.worker.pipe import decode
from lightning_interp.analysis.worker.slots import Slots

POLL_S = 0.2
_LAST_WORD_S = 5.0
"""What a training said before it ended is read within this time; its end may be seen earlier than its last word."""
_PATIENCE_S = 10.0
"""Waiting for a slot is worth a word after so long."""
QUEUED = "the analysis is queued: other analyzers on this machine go first"

Orders = SimpleQueue[tuple[str, bytes]]


class WorkLoop:
    """Observes snapshots as they come.

    Args:
        analyzer: Does the work.
        orders: Kind and body of what the training says; "gone" when it says nothing more.
        slots: Leave to work beside other analyzers.
        orphaned: Whether the training has ended, by another way than its silence.
    """

    def __init__(
        self, analyzer: Analyzer, orders: Orders, slots: Slots, *, orphaned: Callable[[], bool] = lambda: False
    ) -> None:
        self._analyzer, self._orders, self._slots, self._orphaned = analyzer, orders, slots, orphaned
        self._finishing = self._gone = False
        self._orphaned_since: float | None = None
        self._waits_since: float | None = None

    def work(self) -> bool:
        """Work until done; True when told to finish and done, False when the training is another or gone.

        Done with all of it, the slot is still held: the last fit of the components is work, too.
        """
        while not self._hear() and not self._analyzer.superseded:
            if not self._analyzer.pending() and not self._finishing:
                self._rest()
            elif not self._may_work():
                time.sleep(POLL_S)
            else:
                self._analyzer.run_pending(stop=self._stop)
                if self._finishing and not self._analyzer.pending():
                    return True
                if self._slots.turn_over:
                    self._rest()
        return False

    def _hear(self) -> bool:
        """Take in what the training said; True when it is gone without an order to finish."""
        while True:
            try:
                kind, body = self._orders.get_nowait()
            except Empty:
                return self._gone or self._left_alone()
            self._finishing |= kind == "finish"
            self._gone |= kind == "gone" and not self._finishing
            if kind == "probe":
                self._analyzer.give_probe(decode(body))
            elif kind == "batch_types":
                self._analyzer.give_batch_types(decode(body))

    def _left_alone(self) -> bool:
        """Whether the training ended a while ago and nothing that it said before was to finish."""
        if self._finishing or not self._orphaned():
            return False
        self._orphaned_since = self._orphaned_since or time.monotonic()
        return time.monotonic() - self._orphaned_since > _LAST_WORD_S

    def _stop(self) -> bool:
        return self._hear() or self._slots.turn_over

    def _rest(self) -> None:
        """Let others have the slot for longer than they take to notice."""
        self._slots.give_back()
        self._tell(waits=False)
        time.sleep(2 * POLL_S if self._analyzer.pending() else POLL_S)

    def _may_work(self) -> bool:
        try:
            taken = self._slots.take()
        except OSError as err:  # the folder of slots was removed: rather one analyzer too many than none
            self._say(f"the number of analyzers on this machine is no longer limited: {err}")
            self._slots, taken = Slots(), True
        self._waits_since = None if taken else self._waits_since or time.monotonic()
        waited_s = 0.0 if self._waits_since is None else time.monotonic() - self._waits_since
        if waited_s > _PATIENCE_S and QUEUED not in self._analyzer.state.notices:
            self._say(QUEUED)
        self._tell(waits=not taken)
        return taken

    def _say(self, text: str) -> None:
        """A line for the user, on disk at once: nothing else may be written for long."""
        self._analyzer.state.notice(text)
        self._analyzer.state.write(self._analyzer.run_dir)

    def _tell(self, *, waits: bool) -> None:
        """Say on disk whether other analyzers go first, and which."""
        state, now = self._analyzer.state, list(self._slots.waits_for) if waits else []
        if (state.waiting_for_slot, state.waits_for) != (waits, now):
            state.waiting_for_slot, state.waits_for = waits, now
            state.write(self._analyzer.run_dir)
