# SPDX-License-Identifier: Apache-2.0
"""The tables of a report: phases, configuration, health, findings, and which files the numbers are in."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lightning_interp.dashboards.run_view import RunView
from lightning_interp.phases import MEANINGS, because_text
from lightning_interp.phases.alarm_words import because_words, measured_words
from lightning_interp.store import Provenance
from lightning_interp.store.health_log import HealthRow, events
from lightning_interp.store.layout import (
    ANALYSIS,
    ANALYZER_LOG,
    CHECKPOINTS,
    COMPONENTS,
    HEALTH,
    MANIFEST,
    PHASES,
    PROBE,
    RECORDS,
)

Row = tuple[str, str]
_FILES = {
    MANIFEST: "what the run is, and how it was watched",
    RECORDS: "every number computed, one line a step",
    PHASES: "phases, verdict and the evidence for them",
    ANALYSIS: "what the analyzer does and chose",
    HEALTH: "the monitor's own events",
    CHECKPOINTS: "where each step's tensors came from",
    PROBE: "the fixed examples",
    ANALYZER_LOG: "what the analyzer printed",
}


def phase_rows(run: RunView) -> list[dict[str, str]]:
    """One row a phase, in words."""
    rows = []
    for phase in run.timeline.phases:
        rows.append(
            {
                "name": phase.name,
                "label": phase.name.replace("_", " "),
                "start": f"{phase.start:,}",
                "starts_in": "{:,} to {:,}".format(*phase.start_interval),
                "end": "open" if phase.end is None else f"{phase.end:,}",
                "confidence": f"{phase.confidence:.2f}",
                "meaning": MEANINGS.get(phase.name, ""),
                "because": because_text(phase.because),
            }
        )
    return rows


def alarm_rows(run: RunView) -> list[Row]:
    """Alarms other than the beginnings of phases, which the table of phases has."""
    rows = []
    for alarm in run.timeline.alarms:
        if alarm.name != "phase_began":
            why = f"{because_words(alarm)}{measured_words(alarm, run.timeline)}"
            rows.append((alarm.name.replace("_", " "), f"known at step {alarm.step:,}{why}"))
    return rows


def evidence_rows(run: RunView) -> list[Row]:
    """Clauses of the rules that held, with the step at which each did first."""
    conditions = run.timeline.evidence.get("conditions")
    if not isinstance(conditions, Mapping):
        return []
    found = [entry for entry in conditions.values() if isinstance(entry, Mapping)]
    held = [entry for entry in found if isinstance(entry.get("first_held"), int)]
    held.sort(key=lambda entry: entry["first_held"])
    return [(f"step {entry['first_held']:,}", str(entry.get("means", ""))) for entry in held]


def unknowns(run: RunView) -> list[str]:
    """What the detector says it cannot know."""
    listed = run.timeline.evidence.get("unknown")
    return [str(text) for text in listed] if isinstance(listed, Sequence) and not isinstance(listed, str) else []


def configuration_rows(run: RunView) -> list[Row]:
    """How the run was watched: arguments that were set, probe, layers, versions."""
    manifest = run.manifest
    if manifest is None:
        return []
    rows = [("module", manifest.module_class), ("begun", manifest.created), ("run id", manifest.run_id)]
    rows += [row for origin in manifest.provenance[-1:] for row in _origin_rows(origin)]
    rows += [("layers", ", ".join(manifest.layers))]
    rows += [(key, _plain(value)) for key, value in _flat(manifest.configuration) if value not in (None, {}, [], "")]
    rows += [(f"probe: {key}", _plain(value)) for key, value in _flat(manifest.probe)]
    rows += [(f"version of {key}", str(value)) for key, value in manifest.versions.items()]
    resumed = [f"at step {entry.resumed_at:,}" for entry in manifest.attempts if entry.resumed_at is not None]
    return [*rows, ("resumed", ", ".join(resumed))] if resumed else rows


def _origin_rows(origin: Provenance) -> Iterator[Row]:
    """Where the latest start came from."""
    if origin.code:
        yield "code", origin.code
    if origin.command:
        yield "command line", " ".join(origin.command)
    if origin.seeds:
        yield "seeds", ", ".join(f"{name} {seed}" for name, seed in origin.seeds.items())


def health_rows(run: RunView) -> list[Row]:
    """How the monitor fared: what was captured and lost, what it cost, what the analyzer says."""
    taken = run.events("snapshot")
    rows = [("snapshots written", f"{len(taken):,}")] if taken else []
    dropped = Counter(str(row.get("reason", "")) for row in run.events("dropped"))
    rows += [(f"{count:,} dropped", reason) for reason, count in dropped.most_common()]
    removed = len(run.events("removed"))
    rows += [("removed to stay within the disk cap", f"{removed:,}")] if removed else []
    closed: HealthRow = next(reversed(events(run.health, "closed")), {})
    shares = {"hook_share": "wall time in hooks", "share": "wall time taken in all", "contention": "slow-down of steps"}
    rows += [(label, f"{closed[key]:.2%}") for key, label in shares.items() if isinstance(closed.get(key), float)]
    seconds = run.analysis.get("seconds_per_snapshot")
    device = run.analysis.get("device", "")
    rows += [("analysis of a snapshot", f"{seconds:.3g} s on {device}")] if isinstance(seconds, int | float) else []
    rows += [("outputs found by", str(run.analysis["route"]))] if run.analysis.get("route") else []
    rows += [("notice", str(text)) for text in run.analysis.get("notices") or ()]
    untrusted = run.analysis.get("untrusted")
    if isinstance(untrusted, Mapping):
        rows += [(f"step {step} is not to be trusted", str(why)) for step, why in untrusted.items()]
    return rows


def file_rows(run: RunView, folder: Path) -> list[dict[str, str]]:
    """Data files with links relative to the folder that the report lies in."""
    if run.path is None:
        return []
    paths = [(run.path / name, text) for name, text in _FILES.items()]
    paths += [(path, "tensor components") for path in sorted((run.path / COMPONENTS).glob("*.safetensors"))]
    return [
        {"name": path.relative_to(run.path).as_posix(), "text": text, "link": _link(path, folder)}
        for path, text in paths
        if path.exists()
    ]


def _link(path: Path, folder: Path) -> str:
    """A relative address, that of a link itself where a file is one; ``./`` keeps a colon from making a scheme of a name."""
    return "./" + quote(Path(os.path.relpath(path.parent.resolve() / path.name, folder.resolve())).as_posix())


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
