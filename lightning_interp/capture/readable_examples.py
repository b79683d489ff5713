# SPDX-License-Identifier: Apache-2.0
"""Reading examples of a user's data set: one that cannot be read costs itself, and the data set stays as it was."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lightning_interp.core.console import warn

MOST_UNREAD = 20
"""So many examples may fail before more have to be readable than not."""
MOST_FAILING_S = 5.0
"""Longest that failures may take together: a file server that is gone is waited for again and again."""
_DEPTH = 8


class ExampleReader:
    """Reads examples by index and goes on without those that raise, each tried twice.

    Args:
        dataset: Map-style data set.
        singly: Whether it is asked for one example at a time even if it offers several in one call.
    """

    def __init__(self, dataset: Any, *, singly: bool = False) -> None:
        self.read: list[int] = []
        self._dataset = dataset
        self._several = None if singly else getattr(dataset, "__getitems__", None)
        self._failed: dict[int, Exception] = {}
        self._failing_s = 0.0

    def fetch(self, indices: Sequence[int]) -> Any:
        """What the loader's own fetcher gets of those that can be read, for `collate_fn`; None if it is not one of them.

        Raises:
            Exception: What the data set raises, where it does so for most examples or takes too long for it.
        """
        asked = time.monotonic()
        try:
            items = self._items(indices)
        except Exception:
            self._failing_s += time.monotonic() - asked
        else:
            self.read += indices
            return items
        found = {index: items for index in indices if (items := self._one(index)) is not None}
        self.read += found
        if not found:
            return None
        # A data set that is asked for several at once may answer with whatever its `collate_fn` takes.
        lists = all(isinstance(items, list) for items in found.values())
        return [item for items in found.values() for item in items] if lists else self._items(list(found))

    def finish(self) -> None:
        """Tell what was left out.

        Raises:
            Exception: What the data set raised, where nothing could be read.
        """
        if not self._failed:
            return
        index, err = next(iter(self._failed.items()))
        if not self.read:
            raise err
        what = f"{len(self._failed)} of {len(self._failed) + len(self.read)} examples"
        warn(f"the probe is without {what} that cannot be read (example {index}: {type(err).__name__}: {err})")

    def _items(self, indices: Sequence[int]) -> Any:
        if self._several:
            return self._several(list(indices))
        return [self._dataset[index] for index in indices]

    def _one(self, index: int) -> Any:
        """What the data set gives for one example, None if it fails twice."""
        for again in (True, False):
            asked = time.monotonic()
            try:
                return self._items([index])
            except Exception as err:
                self._failing_s += time.monotonic() - asked
                if self._failing_s > MOST_FAILING_S or len(self._failed) >= max(MOST_UNREAD, len(self.read)):
                    raise
                if not again:
                    self._failed[index] = err
        return None


@contextmanager
def data_sets_kept(*loaders: Any) -> Iterator[None]:
    """Put back what attributes of the loaders' data sets hold: counters, files that they open at their first example.

    Only what is set anew is put back, in a data set and in those that it is made of; what changes in place stays changed.
    """
    kept = [(held, dict(held)) for loader in loaders for held in _attributes(getattr(loader, "dataset", None), _DEPTH)]
    try:
        yield
    finally:
        for held, before in kept:
            for name in [name for name in held if name not in before]:
                del held[name]
            held.update({name: value for name, value in before.items() if held.get(name, held) is not value})


def _attributes(dataset: Any, depth: int) -> Iterator[dict[str, Any]]:
    """Attributes of a data set and of those inside it, as `Subset` and `ConcatDataset` hold them."""
    held = getattr(dataset, "__dict__", None)
    if not isinstance(held, dict) or isinstance(dataset, type) or not depth:
        return
    yield held
    inner = held.get("datasets")
    several = list(inner.values()) if isinstance(inner, Mapping) else inner if isinstance(inner, list | tuple) else []
    for each in (held.get("dataset"), *several[:1000]):
        yield from _attributes(each, depth - 1)
