# SPDX-License-Identifier: Apache-2.0
"""The records that stand, folded in step order into the history measures see and the detector's timeline."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import replace

from lightning_interp.core.judged import OutcomeRows, facts_for, facts_of_loader, loader_names, of_loader
from lightning_interp.core.logged_curves import LoggedAs, LoggedSource
from lightning_interp.core.null_predictor import NullPredictor
from lightning_interp.core.outcome import Outcome
from lightning_interp.core.records import Record
from lightning_interp.core.series import GrowingSeries, Series, add_values
from lightning_interp.core.timeline import Timeline
from lightning_interp.phases import PhaseDetector
from lightning_interp.phases.logged_words import judged_as_logged
from lightning_interp.store.surviving_records import with_non_finite


class RecordHistory:
    """Standing records and what follows from them; a better row of an earlier step folds everything again.

    Args:
        records: Records so far.
        null: What is known of the null predictor.
        outcome: Logged number that decides in place of the probe's held-out curves, or None.
        logged: What curves are logged as, for sentences; may grow.
    """

    def __init__(
        self,
        records: Iterable[Record],
        *,
        null: NullPredictor,
        outcome: Outcome | None = None,
        logged: Mapping[str, LoggedAs] | None = None,
    ) -> None:
        self._records = {record.step: record for record in records}
        self._null, self._outcome = null, outcome
        self._logged_as = {} if logged is None else logged
        self._fold()

    def __contains__(self, step: int) -> bool:
        return step in self._records

    @property
    def records(self) -> tuple[Record, ...]:
        """Standing records, ascending."""
        return tuple(self._records[step] for step in sorted(self._records))

    def record(self, step: int) -> Record | None:
        """The standing record of one step, None where it has none."""
        return self._records.get(step)

    def values(self, step: int) -> Mapping[str, float]:
        """Scalars recorded at one step, none where it has no record."""
        return self._records[step].values if step in self._records else {}

    @property
    def timeline(self) -> Timeline:
        """The detector's account of all records."""
        self._refold()
        loaders = {name: detector.timeline for name, detector in self._loaders.items()}
        return self._of_source(replace(self._detector.timeline, loaders=loaders))

    @property
    def finished_timeline(self) -> Timeline:
        """The same, taken for the whole history."""
        self._refold()
        loaders = {name: detector.finished_timeline for name, detector in self._loaders.items()}
        return self._of_source(replace(self._detector.finished_timeline, loaders=loaders))

    def know_null(self, null: NullPredictor) -> None:
        """All thresholds are shares of what the null predictor gets: fold again if that was learned."""
        if null != self._null:
            self._null, self._stale = null, True

    def history(self, before: int) -> Series:
        """Series of all steps before one: a measure sees no later step, also where an earlier one is observed again."""
        self._refold()
        if self._last < before:
            return self._history
        cuts = {name: bisect_left(steps, before) for name, (steps, _) in self._history.items()}
        return {name: (s[: cuts[name]], v[: cuts[name]]) for name, (s, v) in self._history.items() if cuts[name]}

    def add(self, record: Record) -> bool:
        """Take in one record.

        Returns:
            Whether it is the latest; one of an earlier step is folded with the others when next asked for.
        """
        latest = record.step > self._last
        self._records[record.step] = record
        if latest:
            self._refold()
            units = self._source.units
            self._source.see(with_non_finite(record.values, record.skipped))
            if self._loaders.keys() >= set(loader_names(record.values)) and self._source.units == units:
                self._remember(record)
            else:  # of a new loader, or curve, all count from their start, as they do afterwards
                self._fold()
        else:
            self._stale = True
        return latest

    def _of_source(self, timeline: Timeline) -> Timeline:
        units = self._source.units
        return timeline if units is None else judged_as_logged(timeline, self._logged_as)

    def _refold(self) -> None:
        if self._stale:
            self._fold()

    def _fold(self) -> None:
        self._stale = False
        self._last = -1
        self._history: GrowingSeries = {}
        self._source = LoggedSource()
        for record in self.records:
            self._source.see(with_non_finite(record.values, record.skipped))
        logged = self._source.units
        facts = self._null.for_detector() if logged is None else {}
        self._rows = OutcomeRows(self._outcome, logged)
        self._detector = PhaseDetector(**facts_for(self._outcome, facts))
        named = dict.fromkeys(name for record in self.records for name in loader_names(record.values))
        self._loaders = {name: PhaseDetector(**facts_of_loader(facts)) for name in named}
        for record in self.records:
            self._remember(record)

    def _remember(self, record: Record) -> None:
        if record.step <= self._last:  # the fold that just happened had it already
            return
        self._last = record.step
        add_values(self._history, record.step, record.values)
        values_seen = with_non_finite(record.values, record.skipped)
        for step, values in self._rows.rows(record.step, values_seen):
            self._detector.update(step, values)
        for loader, detector in self._loaders.items():
            if seen := of_loader(values_seen, loader):
                detector.update(record.step, seen)
