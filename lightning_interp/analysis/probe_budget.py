# SPDX-License-Identifier: Apache-2.0
"""Keeping pace: a probe that takes too long is cut once, before the first record, and the cut is recorded."""

from collections.abc import Mapping
from dataclasses import replace

from lightning_interp.batches import example_count, map_tensors
from lightning_interp.records import Probe, ProbeSplit

PROBE_SECONDS = 5.0
"""Most seconds one pass over the whole probe may take; beyond it the probe is cut in proportion."""


def cut_sizes(probe: Probe, seconds: float) -> dict[str, int]:
    """Examples to keep of each split so that a pass takes `PROBE_SECONDS`; empty where it already does."""
    if seconds <= PROBE_SECONDS:
        return {}
    share = PROBE_SECONDS / seconds
    splits = {"train": probe.train, "heldout": probe.heldout}
    return {name: max(1, int(_size(split) * share)) for name, split in splits.items() if split is not None}


def cut_probe(probe: Probe, sizes: Mapping[str, int]) -> Probe:
    """The first examples of each split, as many as `sizes` says."""
    train = _cut(probe.train, sizes.get("train"))
    return replace(probe, train=train, heldout=_cut(probe.heldout, sizes.get("heldout")) if probe.heldout else None)


def _size(split: ProbeSplit) -> int:
    return sum(example_count(batch) for batch in split.batches)


def _cut(split: ProbeSplit, keep: int | None) -> ProbeSplit:
    if keep is None:
        return split
    kept, left = [], keep
    for batch in split.batches:
        count = example_count(batch)
        take = min(count, left)
        if take <= 0:
            break
        kept.append(map_tensors(batch, lambda t, n=count, k=take: t[:k] if t.ndim and t.shape[0] == n else t))  # type: ignore[misc]
        left -= take
    return ProbeSplit(tuple(kept), split.indices[:keep])
