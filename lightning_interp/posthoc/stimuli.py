# SPDX-License-Identifier: Apache-2.0
"""Which examples of the probe the stored activations belong to: their classes, and whether they are held out."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from lightning_interp.analysis.activations import choose_stimuli
from lightning_interp.analysis.exchanged_answers import ANSWER_KEYS
from lightning_interp.analysis.probe_budget import cut_probe
from lightning_interp.core.batches import example_count
from lightning_interp.core.records import SPLITS, Batch, Probe, ProbeSplit, Split
from lightning_interp.core.shapes import Bool, Int, Tensor
from lightning_interp.store.run import Run


@dataclass(frozen=True)
class Stimuli:
    """What is known of the stimuli of a run, in the order their activations are stored: train, then held-out.

    Attributes:
        labels: Class of each, None where the probe's batches show none.
        heldout: Whether each is held out, None where the run does not say.
    """

    labels: Int[Tensor, " stimulus"] | None = None
    heldout: Bool[Tensor, " stimulus"] | None = None


def stimuli_of(run: Run, count: int) -> Stimuli:
    """Classes and splits of the stimuli.

    Args:
        run: Run directory; where it holds no probe, the splits come from the sizes in run.json.
        count: Stimuli that are stored; where the probe would give another number, nothing is known.
    """
    probe = None if run.probe is None else cut_probe(run.probe, run.analysis.get("probe_cut") or {})
    sizes = _recorded_sizes(run) if probe is None else _sizes(probe)
    chosen = [choose_stimuli(size, splits=len(sizes)) for size in sizes.values()]
    if sum(len(rows) for rows in chosen) != count:
        return Stimuli()
    heldout = torch.cat([torch.full((len(rows),), name == "heldout") for name, rows in zip(sizes, chosen, strict=True)])
    labels = None if probe is None else [_labels(split) for name in sizes if (split := probe.split(name)) is not None]
    if labels is None or any(found is None for found in labels):
        return Stimuli(None, heldout)
    known = torch.cat([found[rows] for found, rows in zip(labels, chosen, strict=True) if found is not None])
    # Targets with hardly two examples each are no classes but, say, tokens of a large vocabulary.
    return Stimuli(known if len(torch.unique(known)) <= count / 2 else None, heldout)


def _sizes(probe: Probe) -> dict[Split, int]:
    splits = {name: probe.split(name) for name in SPLITS}
    return {name: sum(map(example_count, split.batches)) for name, split in splits.items() if split is not None}


def _recorded_sizes(run: Run) -> dict[Split, int]:
    cut, examples = run.analysis.get("probe_cut") or {}, run.manifest.probe.get("examples") or {}
    return {name: min(examples[name], cut.get(name, examples[name])) for name in SPLITS if examples.get(name)}


def _labels(split: ProbeSplit) -> Int[Tensor, " example"] | None:
    """Targets of all batches of a split, None where one of them has none that are classes."""
    found = [_targets(batch) for batch in split.batches]
    present = [targets for targets in found if targets is not None]
    return torch.cat(present).long() if present and len(present) == len(found) else None


def _targets(batch: Batch) -> Tensor | None:
    """One integer per example: the second of a pair, or what the batch calls so."""
    targets = None
    if isinstance(batch, Mapping):
        targets = batch.get("labels", batch.get("label"))
    elif isinstance(batch, list | tuple) and len(batch) == 2:
        targets = batch[1]
    if targets is None:
        targets = next((held for name in ANSWER_KEYS if (held := getattr(batch, name, None)) is not None), None)
    if not isinstance(targets, Tensor) or targets.is_floating_point() or targets.dtype == torch.bool:
        return None
    return targets if targets.shape == (example_count(batch),) else None
