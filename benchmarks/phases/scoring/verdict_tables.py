# SPDX-License-Identifier: Apache-2.0
"""Verdicts and alarms as tables, part by part."""

import math
from collections.abc import Mapping

from rich.table import Table
from scoring.alarm_scores import AlarmScores
from scoring.judged import Told
from scoring.verdict_card import VerdictCard
from scoring.verdict_scores import VerdictScores

from lightning_interp.core.terminal import PlainConsole

WORDS: dict[Told, str] = {"none": "nothing", "classes": "number of classes", "null": "what the monitor found"}


def show_verdicts(cards: Mapping[str, VerdictCard]) -> None:
    """Print every part on standard output, and below them what the words mean."""
    console = PlainConsole()
    for part, card in cards.items():
        runs = sum(card.right.values())
        console.print()
        console.say(f"{part.replace('_', ' ')}: verdicts on {runs} runs in {card.configurations} configurations", "bold")
        console.print(_verdict_table(card.verdicts))
        console.print(_alarm_table(card.alarms))
    console.print(
        "Counts are of runs; shares and their 95 % intervals of configurations: right where all seeds are, wrong where one "
        "is. Clear: the label hangs on no threshold.",
        style="dim",
    )


def _verdict_table(verdicts: tuple[VerdictScores, ...]) -> Table:
    table = Table("series", "told", "right", "right of the clear", "grokking, of others", title="verdicts")
    for heading in ("groks left in memorization", "formation where none"):
        table.add_column(heading)
    for found in verdicts:
        shares = (found.right, found.clear, found.false_grokking, found.open_memorization, found.formed)
        table.add_row(found.seen, WORDS[found.told], *map(str, shares))
    return table


def _alarm_table(alarms: tuple[AlarmScores, ...]) -> Table:
    table = Table("series", "told", "warned in time", "false alarms", "neither", "median lead", title="early warning")
    for found in alarms:
        lead = "–" if math.isnan(found.lead) else f"{found.lead:.0%}"
        table.add_row(found.seen, WORDS[found.told], *map(str, (found.detected, found.false_alarms, found.undecided)), lead)
    return table
