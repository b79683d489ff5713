# SPDX-License-Identifier: Apache-2.0
"""The interface through which the training sees its analyzer, wherever that runs."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from lightning_interp.analysis.packed_types import PackedTypes
from lightning_interp.core.records import Probe

HANDOVER_S = 10.0
"""Longest the end of a training waits until its analyzer has taken the orders."""


class Engine(ABC):
    """Runs the analyzer of one run directory."""

    @abstractmethod
    def snapshot_taken(self) -> None:
        """A snapshot was handed to the writer; inline engines work now."""

    @abstractmethod
    def give_probe(self, probe: Probe) -> None:
        """Hand over a probe that is kept out of the run directory."""

    @abstractmethod
    def give_batch_types(self, packed: PackedTypes) -> None:
        """Hand over the classes of batches that were collected, before the probe is written."""

    @abstractmethod
    def finish(self) -> None:
        """No more snapshots will come: analyze what is left, then end."""

    @abstractmethod
    def wait(self, timeout_s: float, *, tick: Callable[[], None] = lambda: None) -> bool:
        """Wait for the end after `finish`; True if it came in time. `tick` is called several times a second."""

    @abstractmethod
    def let_go(self) -> None:
        """Stop caring: an analyzer that still works ends by itself. Idempotent."""

    def goes_on(self, timeout_s: float = HANDOVER_S) -> bool:  # noqa: ARG002
        """Whether the analysis outlives this process and finishes by itself.

        Args:
            timeout_s: Longest to wait until it has taken its orders.
        """
        return False

    def pause(self) -> bool:
        """Halt the analyzer, to see what it costs the training or to spare it; False where that is not possible."""
        return False

    def resume(self) -> None:  # noqa: B027 - only a process can be halted
        """Let a halted analyzer go on."""

    def take_notices(self) -> list[str]:
        """Lines for the user since the last call."""
        return []

    @property
    @abstractmethod
    def failure(self) -> str | None:
        """Why the analyzer ended before it was told to, None while all is well."""
