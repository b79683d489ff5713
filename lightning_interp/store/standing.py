# SPDX-License-Identifier: Apache-2.0
"""How much of a run is analyzed, and whether more of it is to come: what the state of its verdict follows from.

Read off the run directory at the time of asking: what the analyzer wrote last is older than the snapshots that came since,
and one that was killed says nothing of what it left.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from lightning_interp.core.records import Record
from lightning_interp.core.timeline import Timeline
from lightning_interp.phases.verdict_state import BROKEN_OFF_AT, in_state, state_of
from lightning_interp.store.health_log import HealthRow, read_health, times
from lightning_interp.store.heartbeat import read_heartbeat
from lightning_interp.store.layout import MANIFEST, SNAPSHOTS, committed_steps
from lightning_interp.store.manifest import Manifest, Status

SILENT_S = 300.0
"""A training writes into its health log every 30 s while it takes steps, its analyzer a sign of life every 5 s; a validation
may take its time. Silent for longer, it was broken off and could not say so."""

LEFT_OUT = "snapshot"
"""What the reasons of a record name if the whole snapshot was left out (damaged, or an analyzer died of it)."""


@dataclass(frozen=True)
class Standing:
    """Where a run stands.

    Attributes:
        analyzed: Snapshots that were analyzed, and those there are. Dropped, abandoned and damaged ones are neither.
        over: Whether the training has ended, in whatever way.
        broken_off_at: Last known step of a training that did not come to its end, None if it did or goes on.
    """

    analyzed: tuple[int, int]
    over: bool
    broken_off_at: int | None = None

    @property
    def waiting(self) -> int:
        """Snapshots that are still to be analyzed."""
        return self.analyzed[1] - self.analyzed[0]

    def beside(self, unwritten: int) -> "Standing":
        """The same with so many snapshots more that wait, since they are still being written."""
        return replace(self, analyzed=(self.analyzed[0], self.analyzed[1] + unwritten))

    def judge(self, timeline: Timeline) -> Timeline:
        """The timeline in the state that follows."""
        return in_state(timeline, state_of(self.analyzed, over=self.over), self.analyzed, broken_off_at=self.broken_off_at)

    def judge_if_any(self, timeline: Timeline | None) -> Timeline | None:
        """The same; without a timeline that there is no verdict yet, and None where there is nothing to judge either."""
        if timeline is None:
            return self.judge(Timeline("unknown")) if self.waiting else None
        return self.judge(timeline)


def measured_steps(records: Iterable[Record]) -> dict[int, bool]:
    """Whether its snapshot was measured or left out, by the step of each record that stands."""
    return {record.step: LEFT_OUT not in record.skipped for record in records}


def standing_between(recorded: Mapping[int, bool], steps: Set[int], *, again: Set[int], status: Status) -> Standing:
    """Where a run stands, of what is known of its steps.

    Args:
        recorded: Steps with a record, and whether they were measured.
        steps: Steps whose snapshots are there or to come.
        again: Recorded steps that are to be measured once more, if their snapshots are there.
        status: How the training stands.
    """
    waiting = {step for step in steps if step not in recorded} | (again & steps)
    done = sum(measured for step, measured in recorded.items() if step not in waiting)
    broken_off_at = max([*steps, *recorded], default=0) if status in ("failed", "interrupted") else None
    return Standing((done, done + len(waiting)), over=status != "training", broken_off_at=broken_off_at)


def standing_of(
    run_dir: Path,
    manifest: Manifest,
    recorded: Mapping[int, bool],
    *,
    stored: Timeline | None,
    now: float,
    status: Status | None = None,
    health: Sequence[HealthRow] | None = None,
) -> Standing:
    """Where a run stands.

    Args:
        run_dir: Run directory.
        manifest: Content of run.json.
        recorded: As `measured_steps` gives it.
        stored: The timeline that the analyzer wrote, None if there is none.
        now: In seconds since 1970.
        status: Where the training stands, if the caller knows better than run.json.
        health: Rows of the health log that were read already, None to read them where they are needed.
    """
    committed = committed_steps(run_dir / SNAPSHOTS)
    waiting = [step for step in committed if step not in recorded]
    done = sum(recorded.values())
    of = done + len(waiting)
    written = None if stored is None else stored.analyzed
    if manifest.configuration.get("checkpoints") is not None and written is not None:
        of = max(of, written[1])  # they lie elsewhere: only their analyzer knows how many there are
    last = max([*committed, *recorded], default=0)
    status = status or manifest.status
    if status != "training":
        return Standing((done, of), over=True, broken_off_at=None if status == "finished" else last)
    seen = None if stored is None else stored.evidence.get(BROKEN_OFF_AT)
    if isinstance(seen, int) or (written is not None and stored is not None and stored.state == "final"):
        return Standing((done, of), over=True, broken_off_at=seen)  # the analyzer saw the training end
    silent = now - last_sign(run_dir, health) > SILENT_S
    return Standing((done, of), over=silent, broken_off_at=last if silent else None)


def last_sign(run_dir: Path, health: Sequence[HealthRow] | None = None) -> float:
    """When training or analyzer last gave a sign of life, in seconds since 1970.

    Args:
        run_dir: Run directory.
        health: Rows of its health log that were read already, None to read them.
    """
    rows = read_health(run_dir)[0] if health is None else health
    beat = read_heartbeat(run_dir)
    return max([*times(rows[-20:]), (run_dir / MANIFEST).stat().st_mtime, 0.0 if beat is None else beat.at])
