# SPDX-License-Identifier: Apache-2.0
"""What an analyzer process died of, from its exit status and from what it said on disk that it was at."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from lightning_interp.analysis.worker.pipe import Quarantine
from lightning_interp.store.analysis_state import AnalysisState, read_state

_CLOCK_S = 1.0
"""What two readings of the clock may differ by where one means the other."""


@dataclass(frozen=True)
class WorkerExit:
    """The end of an analyzer process that was not told to end.

    Attributes:
        how: What ended it, as in "the analyzer was ended by signal 9".
        busy: What it was at, as in " while observing step 120"; empty where that is not known.
        left_out: What its successor does without, as in " without that step"; empty for nothing.
        quarantine: The same for the successor.
    """

    how: str
    busy: str = ""
    left_out: str = ""
    quarantine: Quarantine = field(default_factory=Quarantine)


def exit_of(run_dir: Path, *, start_id: str, status: int) -> WorkerExit:
    """What became of the analyzer of one start, from its exit status (negative for a signal) and what it left on disk."""
    state = read_state(run_dir)
    if state.start_id != start_id:
        return WorkerExit(_how(status, AnalysisState()))
    how = _how(status, state)
    if state.fitting:
        why = f"the analyzer {how} while fitting them"
        return WorkerExit(how, " while fitting tensor components", " without them", Quarantine(components=why))
    if state.observing is None:
        return WorkerExit(how)
    why = f"the analyzer {how} while observing it"
    busy = f" while observing step {state.observing}"
    return WorkerExit(how, busy, " without that step", Quarantine({state.observing: why}))


def _how(status: int, state: AnalysisState) -> str:
    if status < 0:
        return f"was ended by signal {-status}"
    began, limit = state.busy_since, state.ends_at
    hung = status == 1 and state.stage == "running" and limit is not None and time.time() > limit - _CLOCK_S
    if hung and began is not None and limit is not None:
        return f"was ended after {limit - began:.0f} s without a result"
    return f"ended with status {status}"
