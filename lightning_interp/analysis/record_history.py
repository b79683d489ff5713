# SPDX-License-Identifier: Apache-2.0
"""The records that stand, folded in step order into the history measures see and the detector's timeline."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping

from lightning_interp.core.null_predictor import NullPredictor
from lightning_interp.core.records import Record
from lightning_interp.core.series import GrowingSeries, Series, add_values
from lightning_interp.core.timeline import Timeline
from lightning_interp.phases import PhaseDetector
from lightning_interp.store.surviving_records import with_non_finite


class RecordHistory:
    """Standing records and what follows from them; a better row of an earlier step folds everything again."""

    def __init__(self, records: Iterable[Record], *, null: NullPredictor) -> None:
        self._records = {record.step: record for record in records}
        self._null = null
        self._fold()

    def __contains__(self, step: int) -> bool:
        return step in self._records

    @property
    def records(self) -> tuple[Record, ...]:
        """Standing records, ascending."""
        return tuple(self._records[step] for step in sorted(self._records))

    def values(self, step: int) -> Mapping[str, float]:
        """Scalars recorded at one step, none where it has no record."""
        return self._records[step].values if step in self._records else {}

    @property
    def timeline(self) -> Timeline:
        """The detector's account of all records."""
        self._refold()
        return self._detector.timeline

    @property
    def finished_timeline(self) -> Timeline:
        """The same, taken for the whole history."""
        self._refold()
        return self._detector.finished_timeline

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
            self._remember(record)
        else:
            self._stale = True
        return latest

    def _refold(self) -> None:
        if self._stale:
            self._fold()

    def _fold(self) -> None:
        self._stale = False
        self._last = -1
        self._history: GrowingSeries = {}
        self._detector = PhaseDetector(**self._null.for_detector())
        for record in self.records:
            self._remember(record)

    def _remember(self, record: Record) -> None:
        if record.step <= self._last:  # the fold that just happened had it already
            return
        self._last = record.step
        add_values(self._history, record.step, record.values)
        values_seen = with_non_finite(record.values, record.skipped)
        if values_seen:
            self._detector.update(record.step, values_seen)
