# SPDX-License-Identifier: Apache-2.0
"""A run directory in a few numbers: what ``lightning-interp status`` shows and prints as JSON."""

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightning_interp.core.loader_lines import loader_lines
from lightning_interp.dashboards.figures.labels import drawn_in, label_for, loss_unit
from lightning_interp.dashboards.live.run_state import heartbeat_age_s, state_of
from lightning_interp.dashboards.report import snapshots_to_go, verdict_sentence
from lightning_interp.dashboards.run_view import LOGGED_PREFIX, RunView
from lightning_interp.measures.label import NATS, Labels
from lightning_interp.measures.logged_names import is_component
from lightning_interp.store.health_log import events
from lightning_interp.store.layout import COMPONENTS, OBSERVATIONS, SNAPSHOTS

_FOLDERS = (SNAPSHOTS, OBSERVATIONS, COMPONENTS)
_COSTS = ("hook_share", "writer_share", "share", "contention")


@dataclass(frozen=True)
class LatestValue:
    """The latest value of a record.

    Attributes:
        name: Record name.
        step: Optimizer step of the value.
        value: The value.
        unit: Its unit, empty where it has none.
        change: What it changed by since the current phase began, None where that is not known.
    """

    name: str
    step: int
    value: float
    unit: str
    change: float | None


@dataclass(frozen=True)
class Health:
    """What the monitor did and what it costs.

    Attributes:
        snapshots: Snapshots written.
        removed: Of these, removed again to stay within the disk cap.
        dropped: Snapshots never written, by reason.
        thinned: Times the schedule was thinned to stay within its budget.
        costs: Latest shares of the wall time by name: in hooks, in the writer, in all; and how much slower steps are while
            the analyzer works.
        seconds_per_snapshot: What one observation takes, None where it is not known.
        pending: Snapshots still to be observed, None where nobody knows.
        heartbeat_age_s: Seconds since the analyzer gave a sign of life, None where it never did.
        notices: What analyzer and monitor had to say.
    """

    snapshots: int
    removed: int
    dropped: Mapping[str, int]
    thinned: int
    costs: Mapping[str, float]
    seconds_per_snapshot: float | None
    pending: int | None
    heartbeat_age_s: float | None
    notices: tuple[str, ...]


@dataclass(frozen=True)
class RunSummary:
    """A run in a few numbers.

    Attributes:
        run: Its name.
        verdict: One of the detector's verdicts.
        state: Whether it can still change: ``provisional``, ``pending`` or ``final``.
        analyzed: Snapshots that were analyzed, and those there are; None where that is not known.
        sentence: The verdict in its state, in words.
        training: Where the training stands, a sentence.
        analyzer: Where the analyzer stands, a sentence.
        warnings: What seems to have died.
        ended: Whether nothing more is to come.
        phases: Phases as in phases.json.
        measures: Latest values, losses and accuracies first.
        settings: Latest learning rate, weight decay and batch size.
        health: What the monitor did.
        disk: Bytes by part of the run directory.
        labels: Labels of the run's own measures, for people.
        loaders: Name and verdict of each further validation loader, in a line.
        code: The commit the latest start came from, and whether files differed from it; empty where it is not known.
    """

    run: str
    verdict: str
    state: str
    analyzed: tuple[int, int] | None
    sentence: str
    training: str
    analyzer: str
    warnings: tuple[str, ...]
    ended: bool
    phases: tuple[Mapping[str, Any], ...]
    measures: tuple[LatestValue, ...]
    settings: Mapping[str, float]
    health: Health
    disk: Mapping[str, int]
    labels: Labels
    loaders: tuple[str, ...] = ()
    code: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without labels."""
        plain = asdict(self)
        del plain["labels"]
        return plain


def summary_of(run: RunView, *, now: float) -> RunSummary:
    """Sum up a run directory as it is `now`, in seconds since 1970."""
    state = state_of(run, now=now)
    return RunSummary(
        run=run.name,
        verdict=run.timeline.verdict,
        state=run.timeline.state,
        analyzed=run.timeline.analyzed,
        sentence=verdict_sentence(run),
        training=state.training,
        analyzer=state.analyzer,
        warnings=state.warnings,
        ended=state.ended,
        phases=tuple(run.timeline.to_dict()["phases"]),
        measures=tuple(_measured(run)),
        settings={name: values[-1] for name, (_, values) in run.training.items() if not name.startswith(LOGGED_PREFIX)},
        health=_health(run, now),
        disk=sizes_by_part(run.path) if run.path is not None else {},
        labels=run.labels,
        loaders=tuple(loader_lines(run.timeline)),
        code=run.manifest.provenance[-1].code if run.manifest is not None and run.manifest.provenance else "",
    )


def sizes_by_part(run_dir: Path) -> dict[str, int]:
    """Bytes of each folder that the monitor makes, and of each file; of anything else together."""
    sizes = dict.fromkeys(_FOLDERS, 0)
    for folder, _, names in os.walk(run_dir):
        parts = Path(folder).relative_to(run_dir).parts
        for name in names:
            part = parts[0] if parts else name
            known = part in _FOLDERS or (not parts and not name.startswith("."))
            sizes[part if known else "other"] = sizes.get(part if known else "other", 0) + _size(Path(folder) / name)
    return dict(sorted(sizes.items(), key=lambda entry: -entry[1]))


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # removed meanwhile
        return 0


def _measured(run: RunView) -> list[LatestValue]:
    began = run.timeline.phases[-1].start if run.timeline.phases else None
    names = [name for name in run.series if not is_component(name)]
    outcomes = [*drawn_in("losses", run.labels), *drawn_in("accuracies", run.labels)]
    ordered = sorted(names, key=lambda name: outcomes.index(name) if name in outcomes else len(outcomes))
    return [
        LatestValue(name, steps[-1], values[-1], _unit(run, name), _change(steps, values, began))
        for name, (steps, values) in ((name, run.series[name]) for name in ordered)
        if steps
    ]


def _unit(run: RunView, name: str) -> str:
    unit = label_for(name, run.labels).unit
    return loss_unit(run) if unit == NATS else unit


def _change(steps: Sequence[int], values: Sequence[float], began: int | None) -> float | None:
    """Change since the first value at or after a step; None where that is the latest one."""
    at = len(steps) if began is None else bisect_left(steps, began)
    return values[-1] - values[at] if at < len(steps) - 1 else None


def _health(run: RunView, now: float) -> Health:
    counts = Counter(str(row.get("event")) for row in run.health)
    costs: dict[str, float] = {}
    for row in run.health:
        costs |= {name: float(row[name]) for name in _COSTS if isinstance(row.get(name), int | float)}
    told = [str(notice) for notice in run.analysis.get("notices", ())]
    said = events(run.health, "analyzer", "analyzer_failed", "not_followed")
    told += [str(row[key]) for row in said for key in ("text", "reason") if key in row]
    pace, known = run.analysis.get("seconds_per_snapshot"), run.timeline.analyzed or run.analysis.get("pending")
    return Health(
        snapshots=counts["snapshot"],
        removed=counts["removed"],
        dropped=dict(Counter(str(row.get("reason")) for row in events(run.health, "dropped"))),
        thinned=counts["thinned"],
        costs=costs,
        seconds_per_snapshot=float(pace) if isinstance(pace, int | float) else None,
        pending=None if known is None else snapshots_to_go(run),
        heartbeat_age_s=None if run.path is None else heartbeat_age_s(run.path, now=now),
        notices=tuple(dict.fromkeys(told)),
    )
