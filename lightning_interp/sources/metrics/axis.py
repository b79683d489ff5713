# SPDX-License-Identifier: Apache-2.0
"""What steps of a file are: optimizer steps, epochs, or only the order in which things were logged."""

import re
from dataclasses import dataclass
from typing import Literal

from lightning_interp.measures.logged_names import STEP_KEY

Kind = Literal["optimizer steps", "epochs", "log calls"]

OWN_STEP = STEP_KEY
"""Optimizer step of the monitor's own rows. They come late: what a logger adds to them is the step at which they came."""
WANDB_COUNT = "_step"
"""W&B's count of its own log calls."""
STEP_NAMES = (
    "step", OWN_STEP, "trainer/global_step", "global_step", "optimizer_step", "num_updates", "updates", "train_step",
    "train/step", "train/global_step", "current_step", "current_steps", "steps", "iteration", "iterations", "iter",
    "iters", "num_iter", "n_iter", "iter_num", "it", "batch_step", "global_steps", "training_step", "training_steps",
    "training_iteration", WANDB_COUNT,
)  # fmt: skip
"""Spellings of the optimizer step in lower case, the surest first; W&B's count is none."""
EPOCH_NAMES = ("epoch", "epochs", "ep", "epoch_num", "num_epoch", "epoch_idx", "train/epoch", "current_epoch", "round", "e")
"""Spellings of the epoch."""

_NOT_WORD = re.compile(r"[\s\-.]+")


@dataclass(frozen=True)
class Axis:
    """What steps are.

    Attributes:
        kind: Optimizer steps, epochs, or log calls, which are counted from 0 on.
        column: Column they were read from, None where rows are counted.
    """

    kind: Kind
    column: str | None = None

    def sentence(self) -> str:
        """What a reader is told.

        >>> Axis("epochs", "epoch").sentence(), Axis("log calls").sentence()
        ('Steps are epochs (column `epoch`).', 'Steps count the rows of the file; they are not optimizer steps.')
        """
        if self.kind == "log calls":
            what = "the rows of the file" if self.column is None else f"log calls (column `{self.column}`)"
            return f"Steps count {what}; they are not optimizer steps."
        return f"Steps are {self.kind}." if self.column is None else f"Steps are {self.kind} (column `{self.column}`)."


OPTIMIZER_STEPS = Axis("optimizer steps")


def axis_name(column: str) -> str | None:
    """The spelling among `STEP_NAMES` or `EPOCH_NAMES` that a column has, None if it is no axis.

    >>> axis_name("Global Step"), axis_name("run - trainer/global_step"), axis_name("lr")
    ('global_step', None, None)
    """
    spelled = _NOT_WORD.sub("_", column.strip().lower())
    return spelled if spelled in STEP_NAMES or spelled in EPOCH_NAMES else None
