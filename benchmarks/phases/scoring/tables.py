# SPDX-License-Identifier: Apache-2.0
"""The scores of a pool as tables: early warnings, boundaries and verdicts, part by part."""

import math
from collections.abc import Mapping

from rich.table import Table
from scoring.scorecard import PartScores
from scoring.timeline_scores import TimelineScores
from scoring.warning_scores import WarningScores

from lightning_interp.core.terminal import PlainConsole


def show(scores: Mapping[str, PartScores]) -> None:
    """Print every part of a pool on standard output, and below them what the words mean."""
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


def _warnings_table(warnings: tuple[WarningScores, ...]) -> Table:
    table = Table("score", "alarm", "area at 25 %", "area at 50 %", "ahead", "against wd > 0", "detected", "false", "wd > 0")
    for heading in ("neither", "lead", "lead of its null", "false of its null"):
        table.add_column(heading)
    for found in warnings:
        half = max(found.areas)
        areas = [*(found.areas[at] for at in sorted(found.areas)), found.areas_ahead[half], found.areas_decayed[half]]
        alarms = (found.detected, found.false_alarms, found.false_alarms_decayed, found.undecided)
        lead = "–" if math.isnan(found.lead_share) else f"{found.lead_share:.0%} ({found.lead_steps:,.0f})"
        null = ("–" if math.isnan(x) else f"{x:.0%}" for x in (found.null_lead_share, found.null_false_alarms))
        table.add_row(found.score, found.rule, *map(str, (*areas, *alarms)), lead, *null)
    return table


def _boundary_table(name: str, timelines: TimelineScores) -> Table:
    title = f"timelines, {name}: verdict agrees {timelines.agreed}, {timelines.flips:.2f} labels taken back a run"
    table = Table(
        "start of", "found", "in negatives", "error, share of the run", "error, decades", "inside its interval", title=title
    )
    for phase, found in timelines.boundaries.items():
        errors = [f"{value:.3f}" for value in (found.error_of_run, found.error_log10)]
        table.add_row(phase.replace("_", " "), str(found.found), str(found.invented), *errors, str(found.covered))
    return table


def _confusion_table(timelines: TimelineScores) -> Table:
    kinds = sorted({kind for kind, _ in timelines.confusion})
    verdicts = sorted({verdict for _, verdict in timelines.confusion})
    table = Table("what happened", *(verdict.replace("_", " ") for verdict in verdicts), title="verdicts, all series")
    for kind in kinds:
        table.add_row(kind.replace("_", " "), *(str(timelines.confusion.get((kind, verdict), "")) for verdict in verdicts))
    return table
