# SPDX-License-Identifier: Apache-2.0
"""What mapped checkpoints gave, added to the run in order of steps, and which of them to distrust."""

import time
from collections import deque
from typing import Any

from lightning_interp.analysis.analyzer import Analyzer
from lightning_interp.analysis.measuring import needs_outputs
from lightning_interp.measures import Measure
from lightning_interp.posthoc.checkpoint_mapping import Mapped
from lightning_interp.posthoc.checkpoint_survey import Survey
from lightning_interp.sources.checkpoints.equal_contents import KnownContents
from lightning_interp.sources.checkpoints.finding import Finding
from lightning_interp.sources.checkpoints.integrity import Inspected, check_order
from lightning_interp.store.analysis_state import AnalysisStage
from lightning_interp.store.file_identity import stamp
from lightning_interp.store.jsonl import append_line, cut_torn_tail, read_lines
from lightning_interp.store.layout import CHECKPOINTS

TIMELINE_EVERY_S = 2.0

_OF_THE_SAME_STEP = ("copy", "same_step")
_OF_WRONG_WEIGHTS = ("jump", "copied", "duplicate")


class CheckpointIntake:
    """Feeds one analyzer, whose lock the caller holds, with mapped checkpoints.

    Attributes:
        analyzer: As given.
        tried: Whether there was anything to measure.
        notices: Lines for the user.
        observed: Steps observed, in order.
    """

    def __init__(self, analyzer: Analyzer, survey: Survey) -> None:
        self.analyzer, self._survey = analyzer, survey
        self._findings = list(survey.findings)
        self._path = analyzer.run_dir / CHECKPOINTS
        cut_torn_tail(self._path)
        written = read_lines(self._path)[0]
        lines = {line["step"]: line for line in written if line["step"] is not None}
        self._beside = {line["where"] for line in written if line["step"] is None}
        self._noted = frozenset(lines)
        self._left_out = {step: line for step, line in lines.items() if line.get("left_out")}
        self._known = KnownContents()
        for step, line in sorted(lines.items()):
            if line.get("digest"):
                self._known.know(step, line["where"], line["digest"])
        self._waiting: dict[int, Mapped] = {}
        self._order: deque[int] = deque()
        analyzer.to_come = self._order
        self._last: deque[tuple[int, Any, str]] = deque(maxlen=3)
        self._observed: list[int] = []
        self.tried = False
        self._written_at = 0.0

    @property
    def observed(self) -> tuple[int, ...]:
        """Steps observed now, in order."""
        return tuple(self._observed)

    @property
    def has_records(self) -> bool:
        """Whether anything is measured, now or by an earlier analysis."""
        return bool(self._observed) or any(step not in self._left_out for step in self._noted)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything there is to say about the checkpoints so far."""
        return tuple(self._findings)

    @property
    def notices(self) -> list[str]:
        """Lines for the user."""
        return self.analyzer.state.notices

    def lacks_outputs(self, measure: Measure) -> bool:
        """Whether a measure needs outputs and there was no way to them."""
        return needs_outputs(measure) and self.analyzer.state.route is None

    def lacking(self) -> list[Inspected]:
        """Checkpoints whose step has no record yet, or less than can be measured now."""
        wanted = set(self.analyzer.lacking([each.step for each in self._survey.kept]))
        return [each for each in self._survey.kept if each.step in wanted or self._was_mended(each)]

    def _was_mended(self, each: Inspected) -> bool:
        """Whether a step was left out that has another file now, or one that was still being written then."""
        line = self._left_out.get(each.step)
        return line is not None and (line["where"], line.get("stamp")) != (each.found.where, stamp(each.found.files))

    def begin(self) -> None:
        """Note what headers told."""
        self._order.extend(each.step for each in self.lacking())
        self.tried = bool(self._order)
        kept = {each.step for each in self._survey.kept}
        for finding in self._survey.findings:
            if finding.left_out and (finding.step is None or finding.step in kept):
                self._note_beside(finding)
            elif finding.left_out and finding.step is not None and self._is_new(finding.step):
                self.analyzer.leave_out(finding.step, f"{finding.kind}: {finding.text}")
                line = {"step": finding.step, "where": finding.where, "stamp": None, "digest": None}
                append_line(self._path, line | {"left_out": finding.text})

    def _note_beside(self, finding: Finding) -> None:
        """One line on what has no step, or lies beside the checkpoint of its step: nothing is measured later under it."""
        if finding.where not in self._beside:
            self._beside.add(finding.where)
            line = {"step": None, "where": finding.where, "stamp": None, "digest": None, "left_out": finding.text}
            append_line(self._path, line)

    def add(self, mapped: Mapped) -> None:
        """Add one result; those of later steps wait for the earlier ones."""
        self._waiting[mapped.inspected.step] = mapped
        while self._order and self._order[0] in self._waiting:
            self._add_next(self._waiting.pop(self._order.popleft()))

    def end(self, stage: AnalysisStage) -> None:
        """Say on disk how the analysis ended, and which steps are not to be trusted."""
        before = {str(step): line["left_out"] for step, line in self._left_out.items() if step not in self._observed}
        self.analyzer.state.untrusted = before | {
            str(finding.step): f"{finding.kind}: {finding.text}" for finding in self._findings if self._distrusts(finding)
        }
        self.analyzer.finish(stage)

    def _distrusts(self, finding: Finding) -> bool:
        """Whether a step is not to be trusted for it; a second checkpoint of a step says nothing against the first."""
        if finding.step is None or finding.kind in _OF_THE_SAME_STEP:
            return False
        return finding.left_out or finding.kind in _OF_WRONG_WEIGHTS

    def _add_next(self, mapped: Mapped) -> None:
        inspected, content = mapped.inspected, mapped.content
        for notice in mapped.notices:
            self.analyzer.state.notice(notice)
        step, where = inspected.step, inspected.found.where
        finding, more = self._reason(mapped)
        if finding is not None or mapped.measured is None:
            assert finding is not None
            self._findings.append(finding)
            self.analyzer.leave_out(step, f"{finding.kind}: {finding.text}")
        else:
            self.analyzer.take(step, mapped.measured, mapped.activations)
            self._observed.append(step)
        for each in more:
            self._findings.append(each)
            self.analyzer.state.notice(f"step {each.step:,} is not to be trusted: {each.text}")
        if finding is None and content is not None:
            self._last.append((step, content.sample, where))
            self._look_at_neighbours()
        self._note(inspected, finding, digest=content.digest if content is not None else None)
        if time.monotonic() - self._written_at > TIMELINE_EVERY_S:
            self.analyzer.write_timeline()
            self.analyzer.state.write(self.analyzer.run_dir)
            self._written_at = time.monotonic()

    def _note(self, each: Inspected, finding: Finding | None, *, digest: str | None) -> None:
        """One line on a checkpoint; only the digest of one that was measured is kept."""
        line = {"step": each.step, "where": each.found.where, "stamp": stamp(each.found.files)}
        line |= {"digest": digest if finding is None else None, "left_out": None if finding is None else finding.text}
        append_line(self._path, line)

    def _reason(self, mapped: Mapped) -> tuple[Finding | None, list[Finding]]:
        """Why a checkpoint is left out, None where it is not, and what else there is to say of it and earlier ones."""
        inspected, content = mapped.inspected, mapped.content
        where, step = inspected.found.where, inspected.step
        if mapped.failure or content is None:
            return Finding(where, step, mapped.kind, f"{mapped.failure}; left out", left_out=True), []
        found = self._known.findings(step, where, content.digest, content.marks)
        first = next((each for each in found if each.left_out), None)
        return first, [each for each in found if each is not first]

    def _look_at_neighbours(self) -> None:
        steps, samples, wheres = zip(*self._last, strict=True)
        for finding in check_order(steps, samples, wheres):
            self._findings.append(finding)
            self.analyzer.state.notice(f"step {finding.step:,} is not to be trusted: {finding.text}")

    def _is_new(self, step: int) -> bool:
        return bool(self.analyzer.lacking([step]))
