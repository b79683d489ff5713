# SPDX-License-Identifier: Apache-2.0
"""What defines one run of the pool: task, data, network and optimizer. Plain values, so that a run can be made again."""

from dataclasses import dataclass, fields
from typing import Any, Literal

Task = Literal["add", "sub", "mul", "div", "quadratic", "cubic", "squares", "permutation", "parity", "digits"]
Network = Literal["transformer", "mlp"]


@dataclass(frozen=True)
class Spec:
    """One run.

    Attributes:
        task: What is learned; `tasks` has the definitions.
        size: Modulus, number of permuted items, or number of bits; 0 for digits.
        fraction: Share of all examples to train on; for parity and digits their number in thousands.
        split: `unordered` keeps (a, b) and (b, a) on one side, `ordered` draws pairs by themselves.
        shuffled: Whether the answers are permuted among the examples, on both sides.
        network: One-layer transformer without normalization, or a perceptron.
        width: Width of the residual stream, or of the hidden layers.
        init: Factor on the initial weights.
        loss: What the training minimizes.
        optimizer: AdamW with betas .9 and .98, or SGD with a momentum of .9 and no weight decay.
        lr: Learning rate, after a warm-up of 10 steps.
        weight_decay: Decoupled weight decay, per unit of learning rate.
        batch: Examples a step, None for all.
        steps: Optimizer steps: the budget.
        late_decay: Weight decay in the last third, None for no change.
        seed: Seed of split, order, initial weights and batches.
    """

    task: Task
    size: int = 0
    fraction: float = 0.4
    split: Literal["unordered", "ordered"] = "unordered"
    shuffled: bool = False
    network: Network = "transformer"
    width: int = 48
    init: float = 1.0
    loss: Literal["cross_entropy", "mse"] = "cross_entropy"
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 2e-3
    weight_decay: float = 1.0
    batch: int | None = None
    steps: int = 6000
    late_decay: float | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """Unique and readable: what differs from the defaults. A file's name; nothing is ever read from it."""
        parts = [f"{self.task}{self.size or ''}"]
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("task", "size", "seed") and value != field.default:
                parts.append(f"{SHORT.get(field.name, field.name)}{value if value is not True else ''}")
        return "-".join([*parts, f"s{self.seed}"])

    def plain(self) -> dict[str, Any]:
        """What differs from the defaults, as values JSON can hold; ``Spec(**plain)`` is the same run."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) != field.default}


SHORT = {
    "fraction": "f",
    "split": "",
    "shuffled": "shuffled",
    "network": "",
    "width": "d",
    "init": "x",
    "loss": "",
    "optimizer": "",
    "lr": "lr",
    "weight_decay": "wd",
    "batch": "b",
    "steps": "n",
    "late_decay": "late",
}
