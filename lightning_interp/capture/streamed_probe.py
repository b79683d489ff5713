# SPDX-License-Identifier: Apache-2.0
"""The probe of a run whose data cannot be indexed: the first batches that pass are copied and kept."""

from collections.abc import Sequence

from lightning_interp.capture.probe import SAMPLED_EXAMPLES, WHOLE_SPLIT_BYTES
from lightning_interp.core.batches import byte_count, example_count, map_tensors, to_cpu
from lightning_interp.core.records import SPLITS, Batch, Probe, ProbeSplit, Split


class StreamedProbe:
    """Collects the first 512 training and 512 validation examples (or 64 MB of each) as the loops hand them by.

    Args:
        heldout: Whether validation examples are wanted.
        train: Whether training examples are.
    """

    def __init__(self, *, heldout: bool, train: bool = True) -> None:
        self._kept: dict[Split, list[Batch]] = {"train": [], "heldout": []}
        self._size: dict[Split, tuple[int, int]] = {"train": (0, 0), "heldout": (0, 0)}
        self._wanted: dict[Split, bool] = {"train": train, "heldout": heldout}
        self._provisional = False

    @property
    def complete(self) -> bool:
        """Whether both splits have all they take."""
        return self._full("train") and self._full("heldout")

    @property
    def lacks_heldout(self) -> bool:
        """Whether validation examples were wanted and none has come."""
        return self._wanted["heldout"] and not self._kept["heldout"]

    def offer(self, split: Split, batch: Batch) -> None:
        """Copy a batch if its split still wants one. The copy stays on its device: nothing waits for it."""
        if self._full(split):
            return
        if split == "heldout" and self._provisional:  # a validation begins with the batches the sanity check has shown
            self._provisional = False
            self._kept[split], self._size[split] = [], (0, 0)
        self._keep(split, batch)

    def offer_sanity(self, batches: Sequence[Batch], *, whole: bool) -> None:
        """Keep held-out batches of the sanity check until a validation shows them again with all that follow.

        Args:
            batches: In the order of the loader.
            whole: Whether these are all validation batches, so that there is nothing to wait for.
        """
        for batch in batches:
            if not self._full("heldout"):
                self._keep("heldout", batch)
        self._provisional = bool(batches)
        if whole:
            self.ended("heldout")

    def _keep(self, split: Split, batch: Batch) -> None:
        examples, size = self._size[split]
        self._kept[split].append(map_tensors(batch, lambda tensor: tensor.detach().clone()))
        self._size[split] = (examples + max(1, example_count(batch)), size + byte_count(batch))

    def ended(self, split: Split) -> None:
        """Called after a whole pass over a split: short data has no more batches to wait for, only the same again."""
        if self._kept[split]:
            self._size[split] = (SAMPLED_EXAMPLES, 0)

    def probe(self) -> Probe | None:
        """What was collected, on the CPU; None where training batches were wanted and none passed."""
        if self._wanted["train"] and not self._kept["train"]:
            return None
        train, heldout = (ProbeSplit(tuple(to_cpu(batch) for batch in self._kept[split])) for split in SPLITS)
        return Probe(train, heldout if heldout.batches else None)

    def _full(self, split: Split) -> bool:
        examples, size = self._size[split]
        return not self._wanted[split] or examples >= SAMPLED_EXAMPLES or size >= WHOLE_SPLIT_BYTES
