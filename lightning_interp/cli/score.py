# SPDX-License-Identifier: Apache-2.0
"""``lightning-interp phases --score``: how good the detectors are on a pool of labelled runs, as tables or as JSON."""

import math
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_interp.cli.exit_codes import DONE
from lightning_interp.cli.plain_json import print_json
from lightning_interp.core.console import one_line
from lightning_interp.core.plain_values import finite

if TYPE_CHECKING:
    from rich.table import Table

    from lightning_interp.phases.scoring.scorecard import PartScores
    from lightning_interp.phases.scoring.timeline_scores import TimelineScores
    from lightning_interp.phases.scoring.warning_scores import WarningScores


DRAWN = "test"
"""Part of a pool that the picture shows: everything unseen."""


def run_score(pool: Path, *, as_json: bool, figure: Path | None) -> int:
    """Score a pool, print the tables and draw the picture; returns the exit code."""
    from lightning_interp.phases.scoring.runs import ScoredRun
    from lightning_interp.phases.scoring.scorecard import score_pool
    from lightning_interp.store.pool_file import read_pool

    runs = [ScoredRun.of(entry.facts, entry.metrics) for entry in read_pool(pool)]
    print(one_line(f"{len(runs)} runs in {pool}"), file=sys.stderr)
    scores = score_pool(runs, on_part=lambda part: print(one_line(f"  scored: {part}"), file=sys.stderr))
    if figure is not None:
        _draw(scores[DRAWN], figure)
    if as_json:
        print_json({part: as_plain(found) for part, found in scores.items()})
    else:
        _show(scores)
    return DONE


def as_plain(scores: "PartScores") -> dict[str, Any]:
    """Scores of one part as JSON values; null where there was nothing to measure."""
    timelines = {name: asdict(found) for name, found in scores.timelines.items()}
    for found in timelines.values():
        found["confusion"] = [[kind, verdict, count] for (kind, verdict), count in sorted(found["confusion"].items())]
    warnings = [asdict(each) for each in scores.warnings]
    plain = {"kinds": dict(scores.kinds), "warnings": warnings, "timelines": timelines, "stages": asdict(scores.stages)}
    found_plain: dict[str, Any] = finite(plain)
    return found_plain


def _draw(scores: "PartScores", target: Path) -> None:
    from lightning_interp.cli.picture import write_picture
    from lightning_interp.dashboards.figures.early_warnings import WarningRow, warning_figure

    rows = []
    for found in scores.warnings:
        half = max(found.areas)
        estimates = (found.areas[half], found.areas_ahead[half], found.detected, found.false_alarms)
        rows.append(WarningRow(f"{found.score}: {found.rule}", *((each.value, each.low, each.high) for each in estimates)))
    title = f"Foreseeing generalization in {sum(scores.kinds.values())} unseen runs"
    write_picture(warning_figure(rows, title=title), target)


def _show(scores: "Mapping[str, PartScores]") -> None:
    from lightning_interp.core.terminal import PlainConsole

    console = PlainConsole()
    for part, found in scores.items():
        kinds = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in sorted(found.kinds.items()))
        console.print()
        console.say(f"{part.replace('_', ' ')}: {sum(found.kinds.values())} runs ({kinds})", "bold")
        console.print(_warnings_table(found.warnings))
        for name, timelines in found.timelines.items():
            console.print(_boundary_table(name, timelines))
        console.print(_confusion_table(found.timelines["all series"]))
        console.print(f"stages, train loss ends in a collapse: {found.stages.detected} of the runs that were lost, ", end="")
        console.print(f"{found.stages.false_alarms} of the others")
    console.print(
        "Intervals hold with 95 %. Positive: memorized first, generalized at twice that step or later. Negative: no "
        "generalization and none to come. Early, partial and censored runs are neither. A lead is the time from the alarm "
        "to generalization as a share of the latter's step; its null is the same rule on the course's trend with its "
        "residuals shuffled in time.",
        style="dim",
    )


def _warnings_table(warnings: "tuple[WarningScores, ...]") -> "Table":
    from rich.table import Table

    table = Table("score", "alarm", "area at 25 %", "area at 50 %", "ahead", "against wd > 0", "detected", "false", "wd > 0")
    table.add_column("neither")
    for heading in ("lead", "lead of its null", "false of its null"):
        table.add_column(heading)
    for found in warnings:
        half = max(found.areas)
        areas = [*(found.areas[at] for at in sorted(found.areas)), found.areas_ahead[half], found.areas_decayed[half]]
        alarms = (found.detected, found.false_alarms, found.false_alarms_decayed, found.undecided)
        lead = "–" if math.isnan(found.lead_share) else f"{found.lead_share:.0%} ({found.lead_steps:,.0f})"
        null = ("–" if math.isnan(x) else f"{x:.0%}" for x in (found.null_lead_share, found.null_false_alarms))
        table.add_row(found.score, found.rule, *map(str, (*areas, *alarms)), lead, *null)
    return table


def _boundary_table(name: str, timelines: "TimelineScores") -> "Table":
    from rich.table import Table

    title = f"timelines, {name}: verdict agrees {timelines.agreed}, {timelines.flips:.2f} labels taken back a run"
    table = Table(
        "start of", "found", "in negatives", "error, share of the run", "error, decades", "inside its interval", title=title
    )
    for phase, found in timelines.boundaries.items():
        errors = [f"{value:.3f}" for value in (found.error_of_run, found.error_log10)]
        table.add_row(phase.replace("_", " "), str(found.found), str(found.invented), *errors, str(found.covered))
    return table


def _confusion_table(timelines: "TimelineScores") -> "Table":
    from rich.table import Table

    kinds = sorted({kind for kind, _ in timelines.confusion})
    verdicts = sorted({verdict for _, verdict in timelines.confusion})
    table = Table("what happened", *(verdict.replace("_", " ") for verdict in verdicts), title="verdicts, all series")
    for kind in kinds:
        table.add_row(kind.replace("_", " "), *(str(timelines.confusion.get((kind, verdict), "")) for verdict in verdicts))
    return table
