# SPDX-License-Identifier: Apache-2.0
"""What ``lightning-interp phases`` judges: the history of a file or run directory, and what is known beside it."""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_interp.core.errors import ConfigError, MetricsError
from lightning_interp.core.judged import replaced_by, role_of, sources
from lightning_interp.core.logged_curves import NAMES, VALUES, LoggedAs, LoggedSource, read_logged
from lightning_interp.core.null_predictor import NullPredictor
from lightning_interp.core.outcome import LARGEST_SHARE, OUTCOME, OUTCOME_STEP, Outcome, nearest, outcome_of

if TYPE_CHECKING:
    from lightning_interp.core.series import Series
    from lightning_interp.core.timeline import Timeline
    from lightning_interp.sources.metrics.history import MetricsHistory


@dataclass(frozen=True)
class PhasesInput:
    """A history with what the detector is told beside it.

    Attributes:
        history: The history; of a run directory, or of a file if an outcome is asked for, with the outcome's series.
        facts: Keywords of `PhaseDetector` that hold for the logged curves.
        outcome: Logged number that decides, or None.
        logged: What the training of a run logged that is judged in place of the probe's curves; None where those are.
    """

    history: "MetricsHistory"
    facts: Mapping[str, Any]
    outcome: Outcome | None
    logged: Mapping[str, LoggedAs] | None = None


def read_input(paths: Sequence[Path], asked: argparse.Namespace) -> PhasesInput:
    """Read files or a run directory as the arguments ask.

    Raises:
        MetricsError: They cannot be read, or nothing is logged under the outcome's name.
        ConfigError: The outcome, or an argument for files, cannot be honoured.
    """
    path = paths[0]
    run = read_json(path / "run.json") if (path / "run.json").exists() else None
    if run is not None and (len(paths) > 1 or asked.columns or asked.which_run is not None):
        raise ConfigError(
            f"phases: {path} is a run directory, whose curves are known; leave out --columns, --run and more files."
        )
    outcome = _outcome(asked, run)
    history = _of_files(paths, asked, outcome) if run is None else _of_run(path, run, outcome, own=asked.outcome is None)
    analysis = {} if run is None else _analysis(path)
    logged = None if run is None or LoggedSource.of(history.series).units is None else read_logged(analysis.get("logged_as"))
    known = {} if run is None or logged is not None else _known(run, analysis)
    given = {"n_classes": asked.classes, "null_loss": asked.null_loss, "null_error": asked.null_error}
    facts = known | {name: value for name, value in given.items() if value is not None}
    told = [kind for kind in ("loss", "error") if given[f"null_{kind}"] is not None]
    if told:
        facts["null_source"] = sources(facts.get("null_source")) | dict.fromkeys(told, "given on the command line")
    history = _with_own_names(history, logged)
    if outcome is not None:
        _check_shares(outcome, history)
        history = _shown(history, outcome)
    return PhasesInput(history, facts, outcome, logged)


def estimate_line(timeline: "Timeline", outcome: Outcome | None) -> str | None:
    """What to give if the verdict rests on an estimate of what a constant predictor gets; None if it does not."""
    from lightning_interp.phases.wording import asks_for_null  # late: --help needs none of it

    evidence = timeline.evidence
    kind = "error" if "heldout_accuracy" in evidence["series"]["present"] else "loss"
    level = evidence["null"].get(kind)
    rests = not level["known"] and evidence["verdict_rests_on"] == kind if level and outcome else asks_for_null(evidence)
    if level is None or not rests:
        return None
    stands = f"{level['value']:.3g} ({level['source']}) stands for it"
    if outcome is not None and kind == "error":  # the level is how far from the best it is
        stands = f"{(1 - level['value']) * outcome.best:.3g} stands for it"
    if outcome is not None:
        return f"What a constant answer gets as {outcome.name} is not known, {stands}; give --outcome-null."
    return f"The {kind} of a constant predictor is not known, {stands}; give --classes or --null-{kind}."


def read_json(path: Path) -> Mapping[str, Any]:
    """An object of a run directory, empty where it is not there yet."""
    from lightning_interp.store.bounded_file import read_object  # late: --help needs none of it

    return read_object(path) or {}


def _outcome(asked: argparse.Namespace, run: Mapping[str, Any] | None) -> Outcome | None:
    """The outcome of the arguments, else that of the run."""
    if asked.outcome is not None:
        found: Outcome | None = _named(asked.outcome, asked.outcome_direction)
    else:
        stored = (run or {}).get("configuration")
        stored = stored.get("outcome") if isinstance(stored, Mapping) else None
        found = Outcome.from_plain(stored) if isinstance(stored, Mapping) else None
    changes = {"null_value": asked.outcome_null, "best": asked.outcome_best}
    changes = {name: value for name, value in changes.items() if value is not None}
    if found is None and (changes or asked.outcome_direction):
        raise ConfigError("phases: --outcome-direction, --outcome-null and --outcome-best say more of --outcome NAME.")
    return None if found is None else replace(found, **changes).checked()


def _named(name: str, direction: Any) -> Outcome | None:
    return outcome_of(name) if direction is None else Outcome(name, direction).checked()


def _known(run: Mapping[str, Any], analysis: Mapping[str, Any]) -> dict[str, Any]:
    """What the analyzer found out of the run."""
    classes = run.get("n_classes", analysis.get("n_classes"))
    return NullPredictor.read({**analysis, "n_classes": classes}).for_detector()


def _analysis(path: Path) -> Mapping[str, Any]:
    from lightning_interp.store.analysis_state import read_analysis

    return read_analysis(path)


def _of_files(paths: Sequence[Path], asked: argparse.Namespace, outcome: Outcome | None) -> "MetricsHistory":
    from lightning_interp.sources.metrics.history import read_metrics

    also = {} if outcome is None else {outcome.name: OUTCOME}
    history = read_metrics(paths, columns=dict(asked.columns or ()), run=asked.which_run, also=also)
    if outcome is None:
        return history
    if OUTCOME not in history.series:
        columns = (*history.mapping, *history.unused)
        raise MetricsError(f"{paths[0]}: no column {outcome.name!r}; {nearest(outcome.name, columns)}.")
    steps, _ = history.series[OUTCOME]  # in a file every row is an evaluation
    return replace(history, series={**history.series, OUTCOME_STEP: (steps, list(map(float, steps)))})


def _of_run(path: Path, run: Mapping[str, Any], outcome: Outcome | None, *, own: bool) -> "MetricsHistory":
    from lightning_interp.posthoc.run_history import read_run_history
    from lightning_interp.store.manifest import attempts_in, resumed_steps

    resumed = resumed_steps(attempts_in(path / "run.json", run["attempts"])) if "attempts" in run else {}
    history = read_run_history(path, resumed)
    if outcome is None or own:
        return history
    return replace(history, series={**history.series, **_logged(path, outcome.name, resumed)})


def _logged(path: Path, name: str, resumed: Mapping[int, int]) -> "Series":
    """What the training logged under a name, and the steps of its validations if they are known, from health.jsonl."""
    from lightning_interp.core.series import series_of
    from lightning_interp.measures.logged_names import logged_name, record_name
    from lightning_interp.store.health_log import read_health, valid_events

    rows = valid_events(read_health(path)[0], "snapshot", resumed)
    scalars = {step: row["scalars"] for step, row in rows.items() if isinstance(row.get("scalars"), Mapping)}
    wanted = {name: OUTCOME, logged_name(OUTCOME_STEP): OUTCOME_STEP}
    found = series_of(
        (step, {wanted[key]: float(value) for key, value in values.items() if key in wanted})
        for step, values in scalars.items()
    )
    if OUTCOME not in found:
        known = dict.fromkeys(key for values in scalars.values() for key in values if record_name(key) is None)
        raise MetricsError(f"{path}: the training logged no {name!r}; {nearest(name, known)}.")
    return found


def _with_own_names(history: "MetricsHistory", logged: Mapping[str, LoggedAs] | None) -> "MetricsHistory":
    """The history with columns of logged curves named as the training named them; without them if they are not judged."""
    mapping = {column: name for column, name in history.mapping.items() if name not in NAMES}
    if logged is None:
        return replace(history, mapping=mapping)
    own = {curve: logged[curve].name if curve in logged else name for name, curve in VALUES.items()}
    judged = {own[curve]: curve for name, curve in VALUES.items() if name in history.series}
    return replace(history, mapping=mapping | judged)


def _shown(history: "MetricsHistory", outcome: Outcome) -> "MetricsHistory":
    """The history with the columns that are judged now: the outcome in the place of others."""
    gone = replaced_by(outcome)
    mapping = {column: name for column, name in history.mapping.items() if name not in gone}
    unused = [column for column, name in history.mapping.items() if name in gone and name not in (OUTCOME, OUTCOME_STEP)]
    judged = {outcome.name: role_of(outcome)} if OUTCOME in history.series else {}
    return replace(history, mapping=mapping | judged, unused=(*unused, *history.unused))


def _check_shares(outcome: Outcome, history: "MetricsHistory") -> None:
    """Refuse percentages that are not said to be some: as shares they could not be told from solved data."""
    _, values = history.series.get(OUTCOME, ((), ()))
    highest = max((value for value in values if math.isfinite(value)), default=0.0)
    if outcome.direction == "max" and highest > outcome.best * LARGEST_SHARE:
        raise MetricsError(
            f"{history.path}: {outcome.name} reaches {highest:g}, over the {outcome.best:g} that counts as perfect. "
            "Give --outcome-best, 100 for a percentage."
        )
