# SPDX-License-Identifier: Apache-2.0
"""The comparison of run directories: reads them, and puts together what the other files here compute."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

from lightning_interp.core.errors import ConfigError, MetricsError, RunError
from lightning_interp.core.judged import facts_for, judged_series
from lightning_interp.core.logged_curves import LoggedSource
from lightning_interp.core.null_predictor import NullPredictor
from lightning_interp.core.outcome import Outcome
from lightning_interp.core.series import Series
from lightning_interp.core.timeline import Phase, State, Timeline
from lightning_interp.phases import detect_phases
from lightning_interp.phases.alignment import Alignment, align
from lightning_interp.phases.verdict_state import verdict_words
from lightning_interp.posthoc.comparison.boundaries import Boundary, boundary_table
from lightning_interp.posthoc.comparison.representations import Observed, PhaseSimilarity, compare_representations
from lightning_interp.store import Run, open_run

SCHEMA = 1
"""Version of the layout that `Comparison.to_dict` gives."""

MAIN_SERIES = ("train_loss", "heldout_loss", "heldout_accuracy", "weight_norm")
"""Series that are compared, where a run has them: losses in nats, accuracy as a share."""


@dataclass(frozen=True)
class Trajectory:
    """One series of one run.

    Attributes:
        steps: Optimizer steps of the run.
        values: Value at each.
        phase_time: The steps in phase time, None where the run is not aligned.
    """

    steps: tuple[int, ...]
    values: tuple[float, ...]
    phase_time: tuple[float, ...] | None


@dataclass(frozen=True)
class ComparedRun:
    """What is compared of one run.

    Attributes:
        name: Name of its folder, with as many folders above it as make it unique.
        path: Run directory.
        verdict: Verdict of the detector, None without a timeline.
        state: Whether it can still change (``provisional``, ``pending``, ``final``), None without a timeline.
        verdict_words: Verdict and state for people, None without a timeline.
        phases: Phases, empty without a timeline.
        grokking_step: Step of generalization, None where there is none.
        last_step: Last recorded step, None where nothing is recorded.
        final: Last value of each main series.
        trajectories: Main series by name.
        alignment: The map to phase time.
        reasons: What is missing, and why.
    """

    name: str
    path: str
    verdict: str | None
    state: State | None
    verdict_words: str | None
    phases: tuple[Phase, ...]
    grokking_step: int | None
    last_step: int | None
    final: Mapping[str, float]
    trajectories: Mapping[str, Trajectory]
    alignment: Alignment
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """Several runs side by side.

    Attributes:
        reference: Name of the first run; phase time is in its optimizer steps.
        runs: In the order given.
        boundaries: When each phase began, by run and over runs; the last row is generalization, where any run reached it.
        similarity: Representations at the end of each phase that all runs have.
        reasons: What could not be computed of the runs together, and why.
    """

    reference: str
    runs: tuple[ComparedRun, ...]
    boundaries: tuple[Boundary, ...]
    similarity: tuple[PhaseSimilarity, ...]
    reasons: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain JSON values."""
        return {"schema": SCHEMA, **asdict(self)}


def compare_runs(paths: Sequence[str | PathLike[str]]) -> Comparison:
    """Compare two or more run directories; nothing is written.

    Args:
        paths: Run directories. The first is the reference, whose steps are phase time. A directory may be given twice.

    Raises:
        ConfigError: Fewer than two paths.
        RunError: One of them is no run directory, or has another schema.
    """
    if len(paths) < 2:
        raise ConfigError(f"compare: needs two or more run directories, got {len(paths)}.")
    runs = dict(zip(unique_names(paths), map(open_run, paths), strict=True))
    read = {name: _timeline(run) for name, run in runs.items()}
    reference = next(iter(runs))
    compared = []
    for name, run in runs.items():
        alignment = align(_phases(read[reference][0]), _phases(read[name][0]))
        if name == reference:  # phase time is the reference's own, whether or not it has a boundary
            alignment = replace(alignment, reason=None)
        compared.append(_compared(name, run, *read[name], alignment=alignment))
    boundaries = boundary_table({r.name: r.phases for r in compared}, {r.name: r.grokking_step for r in compared})
    observed = [Observed(r.name, runs[r.name], r.phases, r.last_step or 0) for r in compared]
    similarity, reason = compare_representations(observed)
    reasons = ({} if boundaries else {"boundaries": "no run has a phase"}) | ({"similarity": reason} if reason else {})
    return Comparison(reference, tuple(compared), boundaries, similarity, reasons)


def unique_names(paths: Sequence[str | PathLike[str]]) -> list[str]:
    """Name of each folder, with as many folders above it as tell them apart, and a number where one is given twice.

    >>> unique_names(["/a/seed0/run", "/a/seed1/run", "/a/seed1/run"])
    ['seed0/run', 'seed1/run', 'seed1/run (2)']
    """
    whole = [Path(path).resolve() for path in paths]
    depth = 1
    while len({path.parts[-depth:] for path in whole}) < len(set(whole)):
        depth += 1
    names: list[str] = []
    for path in whole:
        name, times = Path(*path.parts[-depth:]).as_posix(), 1
        while name in names:
            times += 1
            name = f"{Path(*path.parts[-depth:]).as_posix()} ({times})"
        names.append(name)
    return names


def _timeline(run: Run) -> tuple[Timeline | None, str | None]:
    """The run's timeline, and why it has none or one without phases."""
    try:
        timeline = run.timeline
    except (RunError, MetricsError) as err:
        return None, str(err)
    if timeline is None:
        return None, f"no timeline yet; finish the analysis: lightning-interp analyze {run.path}"
    return timeline, None if timeline.phases else "the detector found no phase"


def _out_of_date(run: Run, timeline: Timeline, series: Series) -> str | None:
    """What this version's detector says otherwise than the stored timeline, which another version may have written."""
    if run.manifest.status == "training":  # the analyzer is still at work on it
        return None
    try:
        stored_outcome = run.manifest.configuration.get("outcome")
        outcome = None if stored_outcome is None else Outcome.from_plain(stored_outcome)
        logged = LoggedSource.of(series).units is not None
        facts = facts_for(outcome, {} if logged else NullPredictor.read(run.analysis).for_detector())
        found = detect_phases(judged_series(series, outcome), **facts).phases
    except (MetricsError, ConfigError, TypeError) as err:
        return f"the phases cannot be checked against the records ({err})"
    stored, now = ([(phase.name, phase.start) for phase in phases] for phases in (timeline.phases, found))
    if stored == now:
        return None
    listed = ", ".join(f"{name} from {start:,}" for name, start in now) or "none"
    return f"its stored phases are not those this version finds ({listed}); renew them: lightning-interp analyze {run.path}"


def _phases(timeline: Timeline | None) -> tuple[Phase, ...]:
    return () if timeline is None else timeline.phases


def _compared(name: str, run: Run, timeline: Timeline | None, reason: str | None, *, alignment: Alignment) -> ComparedRun:
    series = run.series
    reasons = {} if reason is None else {"phases": reason}
    if timeline is not None and (stale := _out_of_date(run, timeline, series)) is not None:
        reasons["stored_phases"] = stale
    reasons |= {key: "not recorded" for key in MAIN_SERIES if key not in series}
    if alignment.reason is not None:
        reasons["phase_time"] = alignment.reason
    return ComparedRun(
        name,
        str(run.path),
        None if timeline is None else timeline.verdict,
        None if timeline is None else timeline.state,
        None if timeline is None else verdict_words(timeline),
        _phases(timeline),
        None if timeline is None else timeline.grokking_step,
        _last_step(series, _phases(timeline)),
        {key: series[key][1][-1] for key in MAIN_SERIES if key in series},
        {key: _trajectory(series[key], alignment) for key in MAIN_SERIES if key in series},
        alignment,
        reasons,
    )


def _trajectory(points: tuple[list[int], list[float]], alignment: Alignment) -> Trajectory:
    steps, values = points
    mapped = [time for step in steps if (time := alignment.phase_time(step)) is not None]
    return Trajectory(tuple(steps), tuple(values), tuple(mapped) if alignment.reason is None else None)


def _last_step(series: Series, phases: Sequence[Phase]) -> int | None:
    ends = [steps[-1] for steps, _ in series.values()] + [phase.end or phase.start for phase in phases]
    return max(ends, default=None)
