# SPDX-License-Identifier: Apache-2.0
"""What an analyzer is at: said on disk before it begins, and limited in time where the analyzer has its own process."""

import faulthandler
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lightning_interp.store.analysis_state import AnalysisState

TIMES_USUAL = 20
"""An observation hangs when it takes this many times as long as the slowest one before it."""
FIRST_LIMITS = 5
"""Least limits that an observation or a fit gets as long as nobody knows how long one takes."""
PROBE_LIMITS = 30
"""Least limits for the pass over the whole probe that decides how far it is cut."""
TIMES_PASS = 100
"""Passes over the probe that the measures of one snapshot may take."""


class Watch:
    """Limits the time until the next `cancel`. This one never ends anything: a thread of the training must not end it."""

    def limit(self, seconds: float) -> bool:  # noqa: ARG002 - the argument of those that do
        """Begin a limit in place of the one before; False where there are no limits."""
        return False

    def cancel(self) -> None:
        """No limit from here on."""


class ProcessWatch(Watch):
    """Ends this process when a limit passes, also where the hanging code never lets the interpreter go; traces go to `log`.

    The clock of the limit goes on while the process is stopped, which the budget does for up to 17 times as long as it
    worked: less than `TIMES_USUAL`.
    """

    def __init__(self, log: IO[str]) -> None:
        self._log = log

    def limit(self, seconds: float) -> bool:
        """Begin a limit in place of the one before."""
        faulthandler.dump_traceback_later(seconds, exit=True, file=self._log)
        return True

    def cancel(self) -> None:
        """No limit from here on."""
        faulthandler.cancel_dump_traceback_later()


class PassTimer:
    """Told of the pass over the whole probe that decides how far it is cut; this one limits nothing."""

    def time_probe(self) -> None:
        """The whole probe is about to be timed."""

    def probe_took(self, seconds: float) -> None:
        """One pass over it took so many seconds."""


class Watchdog(PassTimer):
    """Tells readers of analysis.json what is under way, and the watch how long it may take.

    Args:
        run_dir: Run directory.
        state: What is written; whatever an analyzer that died was at is forgotten here.
        watch: Ends what hangs.
        least_s: Least limit of an observation, in seconds.
    """

    def __init__(self, run_dir: Path, state: AnalysisState, watch: Watch, *, least_s: float) -> None:
        self._run_dir, self._state, self._watch, self._least_s = run_dir, state, watch, least_s
        self._slowest_s: float | None = None
        self._state.rest()
        self._state.waiting_for_slot, self._state.waits_for = False, []

    def observe(self, step: int) -> None:
        """A snapshot is about to be observed."""
        self._state.observing, self._state.busy_since = step, time.time()
        self._limit(self._usual_limit())

    def took(self, seconds: float) -> None:
        """An observation was done in so many seconds; those of the first one, which has more to do, are not told."""
        self._slowest_s = max(seconds, self._slowest_s or 0.0)

    def time_probe(self) -> None:
        """The whole probe is about to be timed; it may be far too large, which is why it is timed."""
        self._limit(PROBE_LIMITS * self._least_s)

    def probe_took(self, seconds: float) -> None:
        """One pass over the probe took so many seconds; the measures come next."""
        self._limit(max(self._usual_limit(), TIMES_PASS * seconds))

    @contextmanager
    def fitting(self) -> Iterator[None]:
        """Components are fitted inside; what fails inside leaves the mark that it was a fit."""
        self._state.fitting, self._state.busy_since = True, time.time()
        self._limit(FIRST_LIMITS * self._least_s)
        yield
        self.rest()

    def next_fit(self) -> None:
        """A fit is done, another may follow."""
        if self._state.busy_since is not None:
            self._limit(FIRST_LIMITS * self._least_s)

    def rest(self) -> None:
        """Nothing is under way."""
        self._watch.cancel()
        self._state.rest()
        self._state.write(self._run_dir)

    def _usual_limit(self) -> float:
        if self._slowest_s is None:
            return FIRST_LIMITS * self._least_s
        return max(self._least_s, TIMES_USUAL * self._slowest_s)

    def _limit(self, seconds: float) -> None:
        self._state.ends_at = time.time() + seconds if self._watch.limit(seconds) else None
        self._state.write(self._run_dir)
