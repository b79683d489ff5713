# SPDX-License-Identifier: Apache-2.0
"""What ``lightning-interp phases`` shows to people: columns used, verdict, phase table, alarms, and what is not known."""

from typing import Any

from rich.table import Table

from lightning_interp.core.loader_lines import loader_lines
from lightning_interp.core.terminal import PlainConsole
from lightning_interp.core.timeline import LossStage, Phase, Timeline
from lightning_interp.phases import because_text
from lightning_interp.phases.alarm_words import alarm_sentence
from lightning_interp.phases.latent_states import LatentStates
from lightning_interp.phases.verdict_state import verdict_words
from lightning_interp.sources.metrics.history import MetricsHistory

MOST_COLUMNS = 40
MOST_NOTES = 8


def show(history: MetricsHistory, timeline: Timeline, console: PlainConsole | None = None) -> None:
    """Print everything, on standard output if no console is given."""
    console = console or PlainConsole()
    _show_columns(history, console)
    console.say(f"Verdict: {verdict_words(timeline)}", "bold")
    console.say(str(timeline.evidence["reason"]))
    console.say(_milestones(timeline.evidence))
    for line in loader_lines(timeline):
        console.say(line)
    if timeline.phases:
        console.print(phase_table(timeline))
        console.say(f"{history.axis.sentence()} Confidence is a score of rules from 0 to 1, not a probability.", "dim")
    else:
        console.print("No phase found yet.")
    if timeline.stages:
        console.say(f"Shape of the loss: {', '.join(_stage(stage) for stage in timeline.stages)}.")
    for phase in timeline.phases:
        if phase.because:
            console.say(
                f"{phase.name.replace('_', ' ').capitalize()} from step {phase.start:,}: {because_text(phase.because)}."
            )
    for alarm in timeline.alarms:
        if alarm.name != "phase_began":
            console.say(alarm_sentence(alarm, timeline))
    for sentence in timeline.evidence["unknown"]:
        console.say(f"Not known: {sentence}", "yellow")


def phase_table(timeline: Timeline) -> Table:
    """Name, start, end, the intervals the boundaries can lie in, and confidence of each phase."""
    table = Table("phase")
    for heading in ("start", "can lie in", "end", "can lie in", "confidence"):
        table.add_column(heading, justify="right")
    for phase in timeline.phases:
        table.add_row(*_cells(phase))
    return table


def _stage(stage: LossStage) -> str:
    until = "open" if stage.end is None else f"{stage.end:,}"
    return f"{stage.name.replace('_', ' ')} {stage.start:,}–{until}"


def show_states(found: LatentStates, console: PlainConsole | None = None) -> None:
    """Print the stretches of latent states and what stands out in each."""
    console = console or PlainConsole()
    table = Table("state", "start", "end", "what stands out, against all runs of the fit", "generalized later")
    for state, start, end in found.stretches:
        until = "open" if end is None else f"{end:,}"
        later = f"{found.generalizing[state]:.0%}"
        table.add_row(str(state + 1), f"{start:,}", until, found.descriptions[state], later)
    console.print(table)
    console.print(
        "States are those of a hidden Markov model fitted on small networks; their numbers mean nothing. Generalized later: "
        "share of generalizing runs in the time those networks spent in the state, beside as many with nothing to learn.",
        style="dim",
    )


def _cells(phase: Phase) -> tuple[str, ...]:
    end = "open" if phase.end is None else f"{phase.end:,}"
    ends_in = "" if phase.end_interval is None else f"{phase.end_interval[0]:,}–{phase.end_interval[1]:,}"
    starts_in = f"{phase.start_interval[0]:,}–{phase.start_interval[1]:,}"
    return phase.name.replace("_", " "), f"{phase.start:,}", starts_in, end, ends_in, f"{phase.confidence:.2f}"


def _show_columns(history: MetricsHistory, console: PlainConsole) -> None:
    used = ", ".join(column if column == name else f"{column} → {name}" for column, name in history.mapping.items())
    console.say(f"Columns used: {used}")
    if history.unused:
        more = f" and {len(history.unused) - MOST_COLUMNS:,} more" if len(history.unused) > MOST_COLUMNS else ""
        console.say(f"Columns not used: {', '.join(history.unused[:MOST_COLUMNS])}{more}", "dim")
    if history.run is not None:
        console.say(f"Run: {history.run}")
    for note in history.notes[:MOST_NOTES]:
        console.say(f"Note: {note}", "yellow")
    if len(history.notes) > MOST_NOTES:
        console.say(f"Note: {len(history.notes) - MOST_NOTES} more like these; --json has all of them.", "yellow")


def _milestones(evidence: Any) -> str:
    steps = {
        "training set fitted from step": evidence["t_mem"],
        "held-out data solved from step": evidence["t_gen"],
    }
    parts = [f"{text} {step:,}" for text, step in steps.items() if step is not None]
    if "chance" in evidence:
        chance = evidence["chance"]
        curve = evidence.get("heldout_curve", "loss")
        parts.append(f"held-out {curve} of a constant answer {chance['value']:.3g} ({chance['source']})")
    text = "; ".join(parts) or "no milestone reached"
    return f"{text[0].upper()}{text[1:]}."
