# SPDX-License-Identifier: Apache-2.0
"""How alike the activations of several runs are where each of them leaves a phase."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, cycle, islice
from statistics import fmean

import torch

from lightning_interp.core.errors import RunError, ShapeError
from lightning_interp.core.shapes import Tensor
from lightning_interp.core.timeline import PHASE_NAMES, Phase
from lightning_interp.measures.similarity import linear_cka, procrustes_distance
from lightning_interp.phases.alignment import starts
from lightning_interp.store import Run
from lightning_interp.store.layout import OBSERVATIONS, step_file
from lightning_interp.store.tensor_file import read_tensors

SHUFFLES = 10
"""Times the stimuli of one run of a pair are put in another order; the pairs take turns."""
SEED = 0

Matrix = tuple[tuple[float, ...], ...]
"""One row and one column for each run, in their order."""


@dataclass(frozen=True)
class LayerSimilarity:
    """One layer at one phase.

    Attributes:
        layer: Name.
        stimuli: Stimuli compared, None where they differ in number.
        cka: Debiased linear CKA of each pair of runs; None where there is none.
        procrustes: Procrustes distance of each pair, from 0 (same) to 1.
        shuffled_cka: Mean CKA when the stimuli of one run of a pair are shuffled: what unrelated activations of this shape
            would give.
        shuffled_procrustes: The same for the distance.
        reason: Why there are no values, None where there are.
    """

    layer: str
    stimuli: int | None = None
    cka: Matrix | None = None
    procrustes: Matrix | None = None
    shuffled_cka: float | None = None
    shuffled_procrustes: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class PhaseSimilarity:
    """All layers at one phase.

    Attributes:
        phase: Name of the phase.
        ends: By run, step at which its first stretch ends; the last recorded step where it is open.
        steps: By run, the observed step that is compared: the last one in the phase, its end included.
        still_open: Runs in which the phase has not ended; where others have left it, they are at different places.
        layers: One entry for each layer that any of the runs has stored at its step.
        reason: Why nothing could be compared, None where something was tried.
    """

    phase: str
    ends: Mapping[str, int]
    steps: Mapping[str, int]
    still_open: tuple[str, ...] = ()
    layers: tuple[LayerSimilarity, ...] = ()
    reason: str | None = None


@dataclass(frozen=True)
class Observed:
    """A run to compare.

    Attributes:
        name: What it is called here.
        run: Its directory.
        phases: Its phases.
        last_step: Last recorded step, where its open phase is cut.
    """

    name: str
    run: Run
    phases: tuple[Phase, ...]
    last_step: int


def compare_representations(runs: Sequence[Observed]) -> tuple[tuple[PhaseSimilarity, ...], str | None]:
    """Similarity of stored activations at the end of each phase that all runs have.

    Returns:
        One entry for each phase, and why there is none where there is none.
    """
    reason = _not_comparable(runs)
    if reason is not None:
        return (), reason
    shared = [name for name in PHASE_NAMES if all(name in starts(each.phases) for each in runs)]
    if not shared:
        return (), "no phase is in all runs"
    return tuple(_at_phase(name, runs) for name in shared), None


def _not_comparable(runs: Sequence[Observed]) -> str | None:
    """Why row i of one run's activations is not the same stimulus as row i of another's."""
    for each in runs:
        if not each.phases:
            return f"no phases are known of {each.name}"
        if not each.run.observed_steps:
            return f"no activations are stored of {each.name}"
        if not each.run.manifest.probe.get("hash"):
            return f"run.json of {each.name} has no hash of its probe, so that its stimuli cannot be told from others"
    hashes = {each.name: str(each.run.manifest.probe["hash"]) for each in runs}
    if len(set(hashes.values())) > 1:
        return f"the probes differ ({_listed(hashes)}): train on the same split, or give all runs the same probe="
    cuts = {each.name: str(each.run.analysis.get("probe_cut") or "whole") for each in runs}
    if len(set(cuts.values())) > 1:
        return f"different parts of the probe were observed ({_listed(cuts)})"
    return None


def _at_phase(name: str, runs: Sequence[Observed]) -> PhaseSimilarity:
    phases = {each.name: starts(each.phases)[name] for each in runs}
    ends = {each.name: _end(phases[each.name], each.last_step) for each in runs}
    steps, without = {}, []
    for each in runs:
        inside = [step for step in each.run.observed_steps if phases[each.name].start <= step <= ends[each.name]]
        if inside:
            steps[each.name] = inside[-1]
        else:
            without.append(each.name)
    found = PhaseSimilarity(name, ends, steps, tuple(run for run, phase in phases.items() if phase.end is None))
    if without:
        return replace(found, reason=f"no activations were stored during it in {', '.join(without)}")
    try:
        stored = {each.name: _stored(each.run, steps[each.name]) for each in runs}
    except RunError as err:
        return replace(found, reason=str(err))
    layers = list(dict.fromkeys(layer for tensors in stored.values() for layer in sorted(tensors)))
    return replace(found, layers=tuple(_compare(layer, stored) for layer in layers))


def _end(phase: Phase, last_step: int) -> int:
    return last_step if phase.end is None else phase.end


def _stored(run: Run, step: int) -> dict[str, Tensor]:
    """Activations of all layers at one step; `Run.activations` would read those of every step."""
    return read_tensors(step_file(run.path / OBSERVATIONS, step)).tensors


def _compare(layer: str, stored: Mapping[str, Mapping[str, Tensor]]) -> LayerSimilarity:
    without = [run for run, found in stored.items() if layer not in found]
    if without:
        return LayerSimilarity(layer, reason=f"not stored in {', '.join(without)}")
    sides = {run: found[layer] for run, found in stored.items()}
    counts = {run: str(len(side)) for run, side in sides.items()}
    if len(set(counts.values())) > 1:
        return LayerSimilarity(layer, reason=f"the numbers of stimuli differ ({_listed(counts)})")
    pairs = list(combinations(sides, 2))
    stimuli = len(next(iter(sides.values())))
    try:
        cka = {pair: linear_cka(*(sides[run] for run in pair)).item() for pair in pairs}
        distance = {pair: procrustes_distance(*(sides[run] for run in pair)).item() for pair in pairs}
    except ShapeError as err:
        return LayerSimilarity(layer, stimuli, reason=_of_runs(sides, str(err)))
    shuffled = _shuffled(sides, pairs, stimuli)
    return LayerSimilarity(layer, stimuli, _matrix(cka, sides, 1.0), _matrix(distance, sides, 0.0), *shuffled)


def _shuffled(sides: Mapping[str, Tensor], pairs: Sequence[tuple[str, str]], stimuli: int) -> tuple[float, float]:
    """Mean CKA and distance of pairs whose stimuli do not correspond."""
    generator = torch.Generator().manual_seed(SEED)
    cka, distance = [], []
    for first, second in islice(cycle(pairs), SHUFFLES):
        other = sides[second][torch.randperm(stimuli, generator=generator)]
        cka.append(linear_cka(sides[first], other).item())
        distance.append(procrustes_distance(sides[first], other).item())
    return fmean(cka), fmean(distance)


def _matrix(values: Mapping[tuple[str, str], float], runs: Mapping[str, Tensor], own: float) -> Matrix:
    return tuple(tuple(own if a == b else values[(a, b) if (a, b) in values else (b, a)] for b in runs) for a in runs)


def _of_runs(sides: Mapping[str, Tensor], message: str) -> str:
    """The message of a measure that knows only `x` and `y`, with the runs that are to blame where they can be told."""
    for run, side in sides.items():
        if not side.isfinite().all():
            return f"some activations of {run} are not finite"
        if bool((side == side[:1]).all()):
            return f"all stimuli give the same activations in {run}"
    return message


def _listed(values: Mapping[str, str]) -> str:
    return ", ".join(f"{run}: {value}" for run, value in values.items())
