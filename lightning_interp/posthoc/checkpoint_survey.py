# SPDX-License-Identifier: Apache-2.0
"""Looking over checkpoints before any of their tensors is read: which there are, under which steps, and what is odd."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lightning_interp.core.errors import CheckpointError
from lightning_interp.posthoc.checkpoint_groups import adapters, original_of, refuse_several_networks
from lightning_interp.sources.checkpoints.finding import Finding
from lightning_interp.sources.checkpoints.format import Found, Header
from lightning_interp.sources.checkpoints.integrity import Inspected, check_choices, check_headers, check_holes
from lightning_interp.sources.checkpoints.reading import read_header
from lightning_interp.sources.checkpoints.registry import at_key, of_averages
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
        key: Where in the files the state dict is, if the user says so.
        in_epochs: Whether steps are epochs, because nothing says the optimizer step of any checkpoint.
        headers: Every checkpoint with a readable header, with the stamp of its files, for a later look at a growing folder.
    """

    sources: tuple[str, ...]
    kept: tuple[Inspected, ...]
    findings: tuple[Finding, ...]
    averaged: bool = False
    key: str = ""
    in_epochs: bool = False
    headers: Mapping[str, tuple[list[int] | None, "Looked"]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        sources: Sequence[str],
        *,
        step_pattern: str | None = None,
        averaged: bool = False,
        key: str = "",
        earlier: "Survey | None" = None,
    ) -> "Survey":
        """Look through files, folders, run directories or URLs; files unchanged since an earlier look are not opened again.

        Raises:
            ConfigError: A source is not there.
            CheckpointError: A source holds no checkpoint, or those of several networks.
        """
        candidates, refused = find_checkpoints(sources, step_pattern=step_pattern)
        findings = [Finding(each.where, each.named_step, each.kind, f"{each.text}; left out", True) for each in refused]
        headers: dict[str, tuple[list[int] | None, Looked]] = {}
        for found in candidates:
            now = stamp(found.files)
            known = earlier.headers.get(found.where) if earlier is not None else None
            if known is not None and known[0] == now is not None:
                headers[found.where] = known
                continue
            looked = _looked_at(found, averaged=averaged, key=key)
            if isinstance(looked, Finding):
                findings.append(looked)
            else:
                headers[found.where] = now, looked
        in_epochs, inspected, without = _numbered([looked for _, looked in headers.values()])
        refuse_several_networks(inspected)
        kept, more = check_headers(inspected)
        steps = [finding.step for finding in (*findings, *without) if finding.step is not None]
        holes = check_holes([*steps, *(each.step for each in inspected)], ", ".join(sources))
        odd = (*check_choices(kept), *adapters(kept), *findings, *without, *more, *holes)
        return cls(tuple(sources), tuple(kept), odd, averaged, key, in_epochs, headers)

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
            raise _none("can be analyzed", self.sources, self.findings)


def none_measured(sources: Sequence[str], findings: Sequence[Finding]) -> CheckpointError:
    """The error where every checkpoint was left out as it was read."""
    return _none("could be measured", sources, [finding for finding in findings if finding.left_out])


def _none(what: str, sources: Sequence[str], findings: Sequence[Finding]) -> CheckpointError:
    alike: dict[str, list[str]] = {}
    for finding in findings:
        alike.setdefault(finding.text.replace(finding.where, "it"), []).append(finding.where)
    reasons = "; ".join(
        f"{wheres[0]}{f' and {len(wheres) - 1} more' if wheres[1:] else ''}: {text}"
        for text, wheres in list(alike.items())[:3]
    )
    return CheckpointError(f"{', '.join(sources)}: none of the checkpoints {what}. {reasons}")


Looked = tuple[Found, Header]
"""A checkpoint whose header could be read."""


def _looked_at(found: Found, *, averaged: bool, key: str) -> Looked | Finding:
    wanted = of_averages(found) if averaged else found
    if wanted is None:
        return _left_out(found, "averages", "averages are asked for, and files of this kind have none")
    if key:
        wanted = at_key(wanted, key)
        if wanted is None:
            return _left_out(found, "no_key", "--key (key=) names an entry of a file of torch.save, and this is none")
    try:
        return wanted, read_header(wanted)
    except CheckpointError as err:
        text = str(err).removeprefix(f"{found.where}: ").rstrip(".")
        return _left_out(found, "damaged" if "damaged" in text or "gone" in text else "not_read", text)


def _numbered(looked: Sequence[Looked]) -> tuple[bool, list[Inspected], list[Finding]]:
    """Checkpoints with their steps: their own, else those of their names; epochs where nothing says a step of any.

    Returns:
        Whether steps are epochs, the checkpoints, and those without a number of that kind.
    """
    steps = [header.step if header.step is not None else found.named_step for found, header in looked]
    in_epochs = all(step is None for step in steps)
    if in_epochs:
        steps = [found.named_epoch if found.named_epoch is not None else header.epoch for found, header in looked]
    pairs = list(zip(looked, steps, strict=True))
    inspected = [Inspected(found, header, step) for (found, header), step in pairs if step is not None]
    without = []
    for (found, header), _ in (pair for pair in pairs if pair[1] is None):
        original = original_of(found, header, inspected)
        epoch = found.named_epoch if found.named_epoch is not None else header.epoch
        says = "" if epoch is None else f", only the epoch, {epoch}, and others say their step"
        what = "step" if not in_epochs else "step or epoch"
        text = f"neither the checkpoint nor its name says the {what}{says}: pass --step-pattern (step_pattern=)"
        copied = _left_out(found, "copy", f"a copy of {original}")
        without.append(copied if original else _left_out(found, "no_step", text))
    return in_epochs and bool(inspected), inspected, without


def _left_out(found: Found, kind: str, why: str) -> Finding:
    return Finding(found.where, found.named_step, kind, f"{why}; left out", left_out=True)
