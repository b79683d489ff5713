# SPDX-License-Identifier: Apache-2.0
"""When a Trainer's training ends, told while the weights are still those that the last optimizer step left."""

import math
from collections.abc import Iterable
from itertools import takewhile
from typing import TYPE_CHECKING

from lightning_interp.core.namespaces import is_overridden

if TYPE_CHECKING:
    from lightning.pytorch import Callback, Trainer
else:
    from lightning_interp.monitor.lightning_types import Callback, Trainer

_SWA = "StochasticWeightAveraging"
_AVERAGING = {"WeightAveraging", _SWA}


class TrainingEnd:
    """Reads from a trainer whether it takes another step; nothing is changed there.

    Args:
        trainer: The trainer.
        monitor: The callback that asks.

    Attributes:
        averaging: Names of callbacks that put averaged weights in the place of the trained ones.
        is_preceded: Whether a callback of the user's own ends an epoch before the monitor does: it may change the weights.
    """

    def __init__(self, trainer: Trainer, monitor: Callback) -> None:
        callbacks: list[Callback] = getattr(trainer, "callbacks", [])
        self.averaging = [type(each).__name__ for each in callbacks if _named(each, _AVERAGING)]
        self._swa = [each for each in callbacks if _named(each, {_SWA})]
        before = takewhile(lambda each: each is not monitor, callbacks)
        self.is_preceded = any(is_overridden("on_train_epoch_end", each) for each in before)

    def is_over(self, trainer: Trainer) -> bool:
        """Whether the epoch that runs trains nothing: averaged weights pass once more over the data, for BatchNorm."""
        return bool(self._swa) and trainer.current_epoch > self._last_epoch(trainer)

    def is_last_step(self, trainer: Trainer, step: int) -> bool:
        """At the end of a batch, whether no batch comes after it, as far as that is known by then."""
        if 0 <= trainer.max_steps <= step or self.stops(trainer, trainer.current_epoch):
            return True
        return trainer.is_last_batch and trainer.current_epoch >= self._last_epoch(trainer)

    def stops(self, trainer: Trainer, epochs: int) -> bool:
        """Whether the training was told to stop, and does so after this many epochs."""
        if not trainer.should_stop:
            return False
        return epochs >= (trainer.min_epochs or 0) and trainer.global_step >= (trainer.min_steps or 0)

    def _last_epoch(self, trainer: Trainer) -> float:
        """Index of the last epoch that trains."""
        most = trainer.max_epochs
        limits = [
            math.inf if most is None or most < 0 else most - 1,
            *(end for swa in self._swa if (end := getattr(swa, "swa_end", math.inf)) >= 0),  # -2 without an end in epochs
        ]
        return min(limits)


def _named(callback: Callback, names: Iterable[str]) -> bool:
    """Whether its class is one of these or made from one; by name, for both namespaces of Lightning."""
    return not {base.__name__ for base in type(callback).__mro__}.isdisjoint(names)
