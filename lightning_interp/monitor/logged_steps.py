# SPDX-License-Identifier: Apache-2.0
"""When the training logged what it logged: values stay where callbacks find them until they are logged anew."""

from collections.abc import Mapping

from torch import Tensor

from lightning_interp.core.logged_curves import Kind
from lightning_interp.measures.logged_names import logged_at


class LoggedSteps:
    """The optimizer step of each logged value, told by looking at the values from time to time.

    A value that was logged anew lies in other memory than the one seen before, which is held on to meanwhile; none is read
    or waited for. What is new in a look right after a validation or an epoch is an average, except a name whose values come
    between steps as well.
    """

    def __init__(self) -> None:
        self._seen: dict[str, Tensor | float] = {}
        self._logged: dict[str, tuple[Kind, int]] = {}
        self._of_batches: set[str] = set()
        self._epoch_began = 0

    def __reduce__(self) -> tuple[type["LoggedSteps"], tuple[()]]:
        """A copy has seen nothing: the values belong to one training."""
        return LoggedSteps, ()

    def epoch_ends_at(self, step: int) -> int:
        """Optimizer step by which the epoch will be over that begins now, if it is up to twice as long as the last."""
        length, self._epoch_began = step - self._epoch_began, step
        return step + 2 * length

    def look(self, values: Mapping[str, Tensor | float], *, step: int, kind: Kind) -> None:
        """Note what was logged since the last look.

        Args:
            values: What is logged now.
            step: Optimizer step.
            kind: What values are that are new: ``batch`` between steps, else ``average``.
        """
        fresh = {name: value for name, value in values.items() if not _is_same(value, self._seen.get(name))}
        self._seen |= {name: value.detach() if isinstance(value, Tensor) else value for name, value in fresh.items()}
        for name in fresh:
            is_average = kind == "average" and (name not in self._of_batches or f"{name}_epoch" in fresh)
            self._logged[name] = ("average" if is_average else "batch", step)
        if kind == "batch":
            self._of_batches |= fresh.keys()

    def scalars(self, values: Mapping[str, Tensor | float]) -> dict[str, float]:
        """Step of each of these values, under the name that tells what it is; to be kept with a snapshot."""
        known = ((name, self._logged[name]) for name in values if name in self._logged)
        return {logged_at(name, kind): float(step) for name, (kind, step) in known}


def _is_same(value: Tensor | float, seen: Tensor | float | None) -> bool:
    """Whether a value is the one that was seen, maybe by another name of the same memory."""
    if value is seen or not isinstance(value, Tensor) or not isinstance(seen, Tensor):
        return value is seen
    try:
        return value.data_ptr() == seen.data_ptr()
    except RuntimeError:  # a device whose memory has no addresses
        return False
