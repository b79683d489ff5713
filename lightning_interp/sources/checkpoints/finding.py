# SPDX-License-Identifier: Apache-2.0
"""What a user is told of a checkpoint."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Something a user should know of a checkpoint.

    Attributes:
        where: The checkpoint.
        step: Its step, None where it has none.
        kind: ``damaged``, ``failed``, ``duplicate``, ``shapes``, ``not_finite``, ``no_step``, ``same_step``,
            ``step_differs``, ``hole``, ``jump``, ``averages``, ``copy``, ``copied``, ``no_key``, ``not_read``.
        text: What is wrong, and what is done about it.
        left_out: Whether the checkpoint is not analyzed.
    """

    where: str
    step: int | None
    kind: str
    text: str
    left_out: bool
