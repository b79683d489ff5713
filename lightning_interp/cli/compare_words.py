# SPDX-License-Identifier: Apache-2.0
"""A comparison of runs in words: cells of its tables and notes, for the terminal and for the report alike."""

from collections.abc import Iterator, Mapping, Sequence

from lightning_interp.core.console import one_line
from lightning_interp.posthoc.comparison import Boundary, Comparison, LayerSimilarity, PhaseSimilarity

FINAL = {
    "train_loss": "train loss",
    "heldout_loss": "held-out loss",
    "heldout_accuracy": "held-out accuracy",
    "weight_norm": "weight norm",
}
"""Series whose last values are shown, and what they are called."""
NONE = "–"
STATISTICS = ("start of", "runs", "median", "95 %", "25–75 %", "range", "decades", "meet")
"""Headings of `statistics_rows`."""
SIMILARITY = ("end of", "layer", "CKA", "shuffled", "Procrustes", "shuffled", "at steps")
"""Headings of `similarity_rows`."""


def statistics_rows(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    """Median, its interval, quartiles, range and spread of each start over runs."""
    for boundary in comparison.boundaries:
        found = boundary.summary
        meet = NONE if boundary.intervals_meet is None else "yes" if boundary.intervals_meet else "no"
        yield (
            boundary_name(boundary),
            f"{found.n} of {len(comparison.runs)}",
            f"{found.median:,.0f}",
            span(found.median_interval),
            span(found.quartiles),
            span((found.lowest, found.highest)),
            NONE if found.spread_decades is None else f"{found.spread_decades:.2f}",
            meet,
        )


def similarity_rows(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    """CKA and Procrustes distance of each layer at the end of each phase, beside what shuffled stimuli give."""
    for phase in comparison.similarity:
        for layer in phase.layers:
            if layer.reason is None:
                yield (one_line(phase.phase.replace("_", " ")), one_line(layer.layer), *_cells(layer), _steps(phase))


def boundary_name(boundary: Boundary) -> str:
    """Name of the phase that begins, or of generalization."""
    return "held-out solved" if boundary.name == "grokking_step" else one_line(boundary.name.replace("_", " "))


def step_text(step: int | None) -> str:
    """A step with thousands apart, a dash for none."""
    return NONE if step is None else f"{step:,}"


def span(ends: tuple[float, float] | None) -> str:
    """Both ends, one where they are equal, a dash for none."""
    if ends is None:
        return NONE
    low, high = ends
    return f"{low:,.0f}" if low == high else f"{low:,.0f} – {high:,.0f}"


def _cells(layer: LayerSimilarity) -> list[str]:
    return [
        _over_pairs(layer.cka or ()),
        _number(layer.shuffled_cka or 0.0, 2),
        _over_pairs(layer.procrustes or ()),
        _number(layer.shuffled_procrustes or 0.0, 2),
    ]


def _over_pairs(matrix: Sequence[Sequence[float]]) -> str:
    """Mean over pairs of runs, and the range where there are several."""
    pairs = [value for row, values in enumerate(matrix) for value in values[row + 1 :]]
    mean = _number(sum(pairs) / len(pairs), 3)
    return mean if len(pairs) == 1 else f"{mean} ({_number(min(pairs), 3)} to {_number(max(pairs), 3)})"


def _number(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}"  # the sum turns -0.0 into 0.0


def _steps(phase: PhaseSimilarity) -> str:
    steps = list(phase.steps.values())
    return ", ".join(f"{step:,}" for step in steps) if len(steps) <= 3 else span((min(steps), max(steps)))


def notes(comparison: Comparison) -> Iterator[str]:
    """What is not known, one sentence each, the same one once."""
    for run in comparison.runs:
        missing = [FINAL[key] for key, reason in run.reasons.items() if reason == "not recorded"]
        others = {key: reason for key, reason in run.reasons.items() if reason != "not recorded"}
        if missing:
            yield _sentence(f"Not recorded in {run.name}: {', '.join(missing)}")
        yield from (_sentence(f"{run.name}, {key.replace('_', ' ')}: {reason}") for key, reason in others.items())
        for name, reason in run.alignment.left_out.items():
            yield _sentence(f"{run.name}, {name.replace('_', ' ')}: not used for phase time, {reason}")
    yield from (_sentence(f"No {what}: {reason}") for what, reason in comparison.reasons.items())
    for note, names in _by_note(comparison).items():
        yield _sentence(f"{', '.join(names)}: {note}")
    for phase in comparison.similarity:
        where = f"End of {phase.phase.replace('_', ' ')}"
        if 0 < len(phase.still_open) < len(phase.ends):
            yield _sentence(f"{where}: still open in {', '.join(phase.still_open)}, compared at the last stored step there")
        if phase.reason is not None:
            yield _sentence(f"{where}, not compared: {phase.reason}")
        yield from (_sentence(f"{where}, layer {x.layer}: {x.reason}") for x in phase.layers if x.reason is not None)


def _by_note(comparison: Comparison) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    for boundary in comparison.boundaries:
        notes = list(boundary.summary.notes)
        if boundary.repeated:
            notes.append(f"came back after another phase in {', '.join(boundary.repeated)}; the first beginning counts")
        for note in notes:
            found.setdefault(note, []).append(boundary_name(boundary))
    return found


def _sentence(text: str) -> str:
    line = " ".join(one_line(text).split())
    return line if line.endswith(".") else f"{line}."
