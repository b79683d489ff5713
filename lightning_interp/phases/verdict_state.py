# SPDX-License-Identifier: Apache-2.0
"""Whether a verdict can still change, and how that is said. No other place has words for it.

`pending` wins over `provisional`: what is not analyzed is missing from the verdict, however the training stands.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lightning_interp.core.timeline import State, Timeline
from lightning_interp.phases.wording import SENTENCES

PLAIN_REASON = "plain_reason"
"""Where the evidence keeps the reason without the words for a state, so that it can be put into another one."""
BROKEN_OFF_AT = "broken_off_at"
"""Where the evidence has the last step of a training that was broken off."""

Analyzed = tuple[int, int] | None
"""Snapshots that were analyzed, and those there are; None of a file of metrics."""


def state_of(analyzed: Analyzed, *, over: bool) -> State:
    """The state of a verdict.

    Args:
        analyzed: Snapshots that were analyzed, and those there are; None of a file of metrics.
        over: Whether the training has ended, in whatever way.

    >>> state_of((10, 64), over=True), state_of((64, 64), over=False), state_of(None, over=True)
    ('pending', 'provisional', 'final')
    """
    if analyzed is not None and analyzed[0] < analyzed[1]:
        return "pending"
    return "final" if over else "provisional"


def in_state(timeline: Timeline, state: State, analyzed: Analyzed, *, broken_off_at: int | None = None) -> Timeline:
    """The timeline in a state, which its reason says; with nothing analyzed there is no verdict.

    Args:
        timeline: In whatever state.
        state: Whether the verdict can still change.
        analyzed: Snapshots that were analyzed, and those there are; None of a file of metrics.
        broken_off_at: Last known step of a training that did not come to its end, None if it did or goes on.
    """
    kept = {name: value for name, value in timeline.evidence.items() if name != BROKEN_OFF_AT}
    plain = kept.get(PLAIN_REASON, kept.get("reason", ""))
    broken = {} if broken_off_at is None or state == "provisional" else {BROKEN_OFF_AT: broken_off_at}
    verdict = "unknown" if _nothing(analyzed) else timeline.verdict
    evidence = {**kept, PLAIN_REASON: plain, **broken}
    found = replace(timeline, verdict=verdict, state=state, analyzed=analyzed, evidence=evidence)
    return replace(found, evidence={**evidence, "reason": said_in_state(str(plain), found)})


def said_in_state(sentence: str, timeline: Timeline) -> str:
    """A sentence on the verdict of a timeline, as far as the verdict goes.

    >>> said_in_state("The train loss is 0.4.", Timeline("unknown", state="pending", analyzed=(10, 64)))
    'So far, 10 of 64 snapshots analyzed: the train loss is 0.4.'
    """
    if _nothing(timeline.analyzed):
        text = f"No verdict yet ({_counted(timeline)})."
    elif timeline.state == "final":
        text = sentence
    else:
        counted = f", {_counted(timeline)}" if timeline.state == "pending" else ""
        text = f"So far{counted}: {_lowered(_still_fitting(sentence, timeline))}"
    at = timeline.evidence.get(BROKEN_OFF_AT)
    return f"{text} Training was broken off after step {at:,}.".lstrip() if isinstance(at, int) else text


def state_words(timeline: Timeline) -> str:
    """The state in a few words.

    >>> state_words(Timeline("grokking")), state_words(Timeline("grokking", state="provisional", analyzed=(9, 9)))
    ('final, of this history', 'so far, training goes on')
    """
    if _nothing(timeline.analyzed):
        return _counted(timeline)
    if timeline.state == "provisional":
        return "so far, training goes on"
    if timeline.state == "pending":
        return f"so far, {_counted(timeline)}"
    at = timeline.evidence.get(BROKEN_OFF_AT)
    if isinstance(at, int):
        return f"final, broken off after step {at:,}"
    return "final" if timeline.analyzed is not None else "final, of this history"


def verdict_words(timeline: Timeline) -> str:
    """The verdict by its name, with its state.

    >>> verdict_words(Timeline("not_fitted", state="pending", analyzed=(10, 64)))
    'not fitted (so far, 10 of 64 snapshots analyzed)'
    >>> verdict_words(Timeline("unknown", state="pending", analyzed=(0, 48)))
    'none yet (0 of 48 snapshots analyzed)'
    """
    name = "none yet" if _nothing(timeline.analyzed) else timeline.verdict.replace("_", " ")
    return f"{name} ({state_words(timeline)})"


def _nothing(analyzed: Analyzed) -> bool:
    """Whether there is a run, and nothing of it is analyzed."""
    return analyzed is not None and analyzed[0] == 0


def _counted(timeline: Timeline) -> str:
    done, of = timeline.analyzed or (0, 0)
    return f"{done:,} of {of:,} snapshots analyzed" if of else "no snapshot analyzed"


def _still_fitting(sentence: str, timeline: Timeline) -> str:
    """What to say in place of "is not fitted" while that can still change; other sentences as they are."""
    plain = SENTENCES["not_fitted"].partition("{")[0]
    if not sentence.startswith(plain):
        return sentence
    decided: Any = next(iter(timeline.evidence.get("because", ())), {})  # a stranger's file may hold anything here
    step = decided.get("step") if isinstance(decided, Mapping) else None
    at = f" at step {step:,}" if isinstance(step, int) else ""
    return f"still fitting{at}: {sentence.removeprefix(plain)}"


def _lowered(sentence: str) -> str:
    """A sentence after a colon: an ordinary first word loses its capital, "SGD" and "R²" keep it."""
    ordinary = sentence[1:2].islower() or sentence[1:2] == " "
    return sentence[:1].lower() + sentence[1:] if ordinary else sentence
