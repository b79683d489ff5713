# SPDX-License-Identifier: Apache-2.0
"""What defines one ordinary training. Plain values, so that a run can be made again."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal

Part = Literal["ordinary_calibration", "ordinary_test"]
Loss = Literal["cross_entropy", "mse", "bce", "mse_one_hot"]
Optimizer = Literal["adamw", "sgd", "lion", "muon"]
Schedule = Literal["constant", "cosine", "step"]
Switch = Literal["", "relabel", "permute"]


@dataclass(frozen=True)
class OrdinarySpec:
    """One run.

    Attributes:
        family: Configurations that ask the same question; a family lies in one part of the pool.
        config: What this one varies, unique in its family; runs that differ in their seed alone share it.
        seed: Seed of data, split, initial weights and batches.
        part: The part of the pool, the same for the whole family.
        data: Name of the data set in `datasets.DATA`.
        options: Arguments of the data set.
        learnable: Whether the inputs tell anything about held-out answers.
        train: Examples to train on.
        heldout: Examples to hold out.
        flip_train: Share of the training labels that are drawn anew.
        flip_heldout: The same of the held-out ones.
        shuffled: Whether answers are permuted among the examples, on both sides.
        scale: Factor on a target of unit variance.
        shift: Added after that.
        loss: What the training minimizes, and what the monitor is told.
        network: Name of the network in `networks.NETWORKS`.
        width: Width of its hidden layers.
        depth: Number of its hidden layers or blocks.
        dropout: Share of the hidden units that are dropped.
        batch_norm: Whether hidden layers are normalized by batch.
        init: Factor on the initial weights.
        frozen: Whether all but the readout stay as they were drawn (or as `pretrained` left them).
        pretrained: Steps on other answers to the same inputs before the run begins; 0 for none.
        optimizer: Betas of AdamW are torch's own; SGD has a momentum of .9.
        lr: Highest learning rate.
        weight_decay: Decoupled where the optimizer has that.
        schedule: Shape of the learning rate after its warm-up.
        warmup: Steps of a linear warm-up.
        batch: Examples a step, None for all.
        steps: Optimizer steps.
        noise: Standard deviation of what is added to the inputs in training.
        shifts: Pixels that images are shifted by at most in training.
        spike: Factor on the learning rate for five steps at two fifths of the run.
        switch: What becomes of the task at half of the run.
        late_decay: Weight decay from half of the run on, None for no change.
    """

    family: str
    config: str
    seed: int
    part: Part
    data: str
    options: Mapping[str, Any] = field(default_factory=dict)
    learnable: bool = True
    train: int = 400
    heldout: int = 300
    flip_train: float = 0.0
    flip_heldout: float = 0.0
    shuffled: bool = False
    scale: float = 1.0
    shift: float = 0.0
    loss: Loss = "cross_entropy"
    network: str = "perceptron"
    width: int = 64
    depth: int = 1
    dropout: float = 0.0
    batch_norm: bool = False
    init: float = 1.0
    frozen: bool = False
    pretrained: int = 0
    optimizer: Optimizer = "adamw"
    lr: float = 2e-3
    weight_decay: float = 0.01
    schedule: Schedule = "constant"
    warmup: int = 0
    batch: int | None = 64
    steps: int = 1500
    noise: float = 0.0
    shifts: int = 0
    spike: float = 1.0
    switch: Switch = ""
    late_decay: float | None = None

    @property
    def name(self) -> str:
        """Unique and readable. A file's name; nothing is ever read from it."""
        return f"{self.family}-{self.config}-s{self.seed}"

    def plain(self) -> dict[str, Any]:
        """What differs from the defaults, as values JSON can hold; ``OrdinarySpec(**plain)`` is the same run."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) != _default(each)}


def _default(each: Any) -> Any:
    return {} if each.default_factory is not MISSING else each.default
