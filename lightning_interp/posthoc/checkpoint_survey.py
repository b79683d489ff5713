# SPDX-License-Identifier: Apache-2.0
"""Looking over checkpoints before any of their tensors is read: which there are, under which steps, and what is odd."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lightning_interp.core.errors import CheckpointError
from lightning_interp.sources.checkpoints.format import Found
from lightning_interp.sources.checkpoints.integrity import Finding, Inspected, check_choices, check_headers, check_holes
from lightning_interp.sources.checkpoints.reading import read_header
from lightning_interp.sources.checkpoints.registry import of_averages
from lightning_interp.sources.checkpoints.search import find_checkpoints
from lightning_interp.store.file_identity import stamp


@dataclass(frozen=True)
class Survey:
    """Checkpoints in order of their steps, one for each step.

    Attributes:
        sources: What was looked through.
        kept: Checkpoints to analyze.
        findings: What headers alone tell.
        averaged: Whether averaged weights are read where a checkpoint has them beside the trained ones.
        headers: Every checkpoint with a readable header, with the stamp of its files, for a later look at a growing folder.
    """

    sources: tuple[str, ...]
    kept: tuple[Inspected, ...]
    findings: tuple[Finding, ...]
    averaged: bool = False
    headers: Mapping[str, tuple[list[int] | None, Inspected]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        sources: Sequence[str],
        *,
        step_pattern: str | None = None,
        averaged: bool = False,
        earlier: "Survey | None" = None,
    ) -> "Survey":
        """Look through files, folders, run directories or URLs; files unchanged since an earlier look are not opened again.

        Raises:
            ConfigError: A source is not there.
            CheckpointError: A source holds no checkpoint.
        """
        findings: list[Finding] = []
        headers: dict[str, tuple[list[int] | None, Inspected]] = {}
        for found in find_checkpoints(sources, step_pattern=step_pattern):
            now = stamp(found.files)
            known = earlier.headers.get(found.where) if earlier is not None else None
            if known is not None and known[0] == now is not None:
                headers[found.where] = known
                continue
            inspected = _inspected(of_averages(found) if averaged else found) or _without_averages(found)
            if isinstance(inspected, Finding):
                findings.append(inspected)
            else:
                headers[found.where] = now, inspected
        kept, more = check_headers([inspected for _, inspected in headers.values()])
        steps = [finding.step for finding in findings if finding.step is not None]
        holes = check_holes([*steps, *(inspected.step for _, inspected in headers.values())], ", ".join(sources))
        odd = (*check_choices(kept), *findings, *more, *holes)
        return cls(tuple(sources), tuple(kept), odd, averaged, headers)

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each tensor by name; the checkpoints that are kept all have the same."""
        return self.kept[0].header.shapes if self.kept else {}

    def require_some(self) -> None:
        """Refuse a survey that has nothing to analyze.

        Raises:
            CheckpointError: With the first reasons why.
        """
        if not self.kept:
            reasons = "; ".join(f"{finding.where}: {finding.text}" for finding in self.findings[:3])
            raise CheckpointError(f"{', '.join(self.sources)}: none of the checkpoints can be analyzed. {reasons}")


def _without_averages(found: Found) -> Finding:
    text = "averages are asked for, and files of this kind have none; left out"
    return Finding(found.where, found.named_step, "averages", text, left_out=True)


def _inspected(found: Found | None) -> Inspected | Finding | None:
    if found is None:
        return None
    try:
        header = read_header(found)
    except CheckpointError as err:
        return Finding(found.where, found.named_step, "damaged", _reason(err, found), left_out=True)
    step = header.step if header.step is not None else found.named_step
    if step is None:
        text = "neither the checkpoint nor its name says the step: pass --step-pattern (step_pattern=); left out"
        return Finding(found.where, None, "no_step", text, left_out=True)
    return Inspected(found, header, step)


def _reason(err: CheckpointError, found: Found) -> str:
    """What is wrong, without the name of the checkpoint, which is shown before it."""
    return f"{str(err).removeprefix(f'{found.where}: ').rstrip('.')}; left out"
