# SPDX-License-Identifier: Apache-2.0
"""Keeping pace: a probe that takes too long is cut once, before the first record, and the cut is recorded."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from lightning_interp.core.batches import example_count, take_examples
from lightning_interp.core.records import Part, Probe, ProbeSplit

PROBE_SECONDS = 5.0
"""Most seconds one pass over the whole probe may take; beyond it the probe is cut in proportion."""
_SEED = 0


def cut_sizes(probe: Probe, seconds: float) -> dict[str, int]:
    """Examples to keep of each split so that a pass takes `PROBE_SECONDS`; empty where it already does."""
    if seconds <= PROBE_SECONDS:
        return {}
    share = PROBE_SECONDS / seconds
    splits = {"train": probe.train, "heldout": probe.heldout}
    return {name: max(1, int(_size(split) * share)) for name, split in splits.items() if split is not None}


def cut_loaders(probe: Probe, seconds: Mapping[Part, float]) -> dict[str, int]:
    """Examples to keep of further validation loaders so that a pass over all of them takes `PROBE_SECONDS`.

    Args:
        probe: The probe.
        seconds: What a pass over each took; of one without a number nothing is kept.
    """
    total = sum(seconds.values())
    sizes = {}
    for loader, split in probe.loaders.items():
        part = f"heldout/{loader}"
        if part not in seconds:
            sizes[part] = 0
        elif total > PROBE_SECONDS:
            sizes[part] = max(1, int(_size(split) * PROBE_SECONDS / total))
    return sizes


def cut_probe(probe: Probe, sizes: Mapping[str, int]) -> Probe:
    """As many examples of each part as `sizes` says, spread evenly over it: data sorted by class keeps its classes.

    A further validation loader of which no example is kept is left out.
    """
    train = _cut(probe.train, sizes.get("train"))
    kept = {name: split for name, split in probe.loaders.items() if sizes.get(f"heldout/{name}") != 0}
    loaders = {name: _cut(split, sizes.get(f"heldout/{name}")) for name, split in kept.items()}
    heldout = _cut(probe.heldout, sizes.get("heldout")) if probe.heldout else None
    return replace(probe, train=train, heldout=heldout, loaders=loaders)


def _size(split: ProbeSplit) -> int:
    return sum(example_count(batch) for batch in split.batches)


def _cut(split: ProbeSplit, keep: int | None) -> ProbeSplit:
    total = _size(split)
    if keep is None or keep >= total:
        return split
    chosen = _spread(total, keep)
    batches, numbers, start = [], [], 0
    kept: list[int] = []
    for number, batch in enumerate(split.batches):
        count = example_count(batch)
        rows = chosen[(chosen >= start) & (chosen < start + count)] - start
        start += count
        if not len(rows):
            continue
        taken = take_examples(batch, rows)
        if taken is None and len(kept) >= int((chosen < start).sum()):
            continue  # those kept whole before it stand for its examples
        batches.append(batch if taken is None else taken)
        kept += range(start - count, start) if taken is None else (rows + start - count).tolist()
        numbers.append(number)
    return ProbeSplit(tuple(batches), _indices(split, total, kept, numbers), split.loader)


def _spread(total: int, keep: int) -> Tensor:
    """One position of each of `keep` equal stretches, drawn with a fixed seed: even steps could skip a periodic class."""
    edges = torch.arange(keep + 1) * total // keep
    share = torch.rand(keep, generator=torch.Generator().manual_seed(_SEED), dtype=torch.float64)
    return edges[:-1] + (share * edges.diff()).long()


def _indices(split: ProbeSplit, total: int, examples: list[int], batches: list[int]) -> tuple[int, ...]:
    """Source indices of what is kept; data sets whose items are batches have one for each batch."""
    kept = examples if len(split.indices) == total else batches
    return tuple(split.indices[position] for position in kept) if split.indices else ()
