# SPDX-License-Identifier: Apache-2.0
"""Digests of a training's tensors, outputs and random states, taken without changing any of them."""

import hashlib
import json
import os
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_interp.core.errors import ConfigError
from lightning_interp.neutrality.process import KEPT, MOMENTS, PROGRESS, Moment, TrainingOrder

_PROGRESS_S = 0.2


def digest(value: object) -> str:
    """Digest of a tensor's bits, data type and shape; of any other value's text.

    >>> digest(torch.tensor([0.0])) == digest(torch.tensor([-0.0]))
    False
    """
    found = hashlib.blake2b(digest_size=16)
    if isinstance(value, Tensor):
        dense = value.detach().to_dense() if value.layout is not torch.strided else value.detach()
        plain = dense.cpu().resolve_conj().resolve_neg().contiguous()
        found.update(f"{plain.dtype} {tuple(plain.shape)}".encode())
        found.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    else:
        found.update(repr(value).encode())
    return found.hexdigest()


def random_states() -> dict[str, str]:
    """Digests of python's, NumPy's and torch's random states."""
    numpy_state = np.random.get_state(legacy=False)
    found = {
        "python": digest(random.getstate()),
        "numpy": digest([numpy_state["state"]["key"].tolist(), numpy_state["state"]["pos"], numpy_state["gauss"]]),
        "torch": digest(torch.get_rng_state()),
    }
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        found |= {f"torch.cuda {i}": digest(state) for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return found


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Tensors and plain values in nested containers, each with a name.

    >>> list(leaves({"loss": 1.0, "more": [2, 3]}))
    [('loss', 1.0), ('more.0', 2), ('more.1', 3)]
    """
    prefix = f"{path}." if path else ""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, f"{prefix}{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from leaves(item, f"{prefix}{index}")
    elif isinstance(value, Tensor | bool | int | float | str):
        yield path or "loss", value


def optimizer_states(trainer: Any, module: Any) -> dict[str, str]:
    """Digests of what the optimizers remember, named by parameter."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    found: dict[str, str] = {}
    for number, optimizer in enumerate(trainer.optimizers):
        for place, (parameter, entries) in enumerate(optimizer.state.items()):
            name = names.get(id(parameter), f"parameter {place}")
            found |= {f"{number} {name} {key}": digest(entry) for key, entry in leaves(entries)}
    return found


def is_monitor(callback: object) -> bool:
    """Whether this is an `InterpMonitor`, told by name: a training without one must not import it."""
    return any(
        base.__name__ == "InterpMonitor" and base.__module__.split(".")[0] == "lightning_interp"
        for base in type(callback).__mro__
    )


class Recording:
    """Lightning's hooks that write moments down; placed after all other callbacks, it draws and changes nothing."""

    def __init__(self, order: TrainingOrder, folder: Path) -> None:
        self._order = order
        self._folder = folder
        self._seen = 0
        self._outputs: dict[str, str] = {}
        self._next_word = 0.0

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:  # noqa: ARG002 - Lightning's
        """Refuse a monitor that came with the module: it cannot be taken away for the training without."""
        if not self._order.monitored and any(is_monitor(callback) for callback in trainer.callbacks):
            raise ConfigError(
                f"factory: configure_callbacks of {type(pl_module).__name__} adds an InterpMonitor. Give it to the Trainer."
            )

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Write down how the training begins."""
        if trainer.is_global_zero:
            self._write(trainer, pl_module)

    def on_train_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Write a moment down if one is due, and stop the training after its last step."""
        step = trainer.global_step
        if trainer.is_global_zero:
            for name, value in leaves(outputs):
                self._outputs[name] = digest(self._outputs.get(name, "") + digest(value))
            if step // self._order.every > self._seen // self._order.every:
                self._write(trainer, pl_module)
            self._report(step)
        self._seen = step
        if step >= self._order.steps:
            # What the user wants at least does not hold for a check; nothing before this step has seen the change.
            trainer.fit_loop.min_epochs, trainer.fit_loop.epoch_loop.min_steps = 0, None
            trainer.should_stop = True

    def ended(self, trainer: Any, module: Any) -> None:
        """Write down how the training ended."""
        self._write(trainer, module, ended=True)

    def _write(self, trainer: Any, module: Any, *, ended: bool = False) -> None:
        tensors = dict(module.state_dict())
        digests = {
            "tensor": {name: digest(value) for name, value in tensors.items()},
            "output": self._outputs,
            "random state": random_states(),
        }
        if ended:
            digests["optimizer"] = optimizer_states(trainer, module)
        moment = Moment(trainer.global_step, ended, digests)
        with (self._folder / MOMENTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(moment)) + "\n")
        self._outputs = {}
        if moment.step == self._order.keep and not ended:
            kept = {name: value.detach().cpu() for name, value in tensors.items() if isinstance(value, Tensor)}
            torch.save(kept, self._folder / KEPT)

    def _report(self, step: int) -> None:
        """Say how far the training is; end it when nobody waits for it any longer."""
        if time.monotonic() >= self._next_word:
            self._next_word = time.monotonic() + _PROGRESS_S
            (self._folder / PROGRESS).write_text(str(step), encoding="utf-8")
            if os.getppid() != self._order.parent:
                os._exit(1)  # at once: callbacks would wait for what nobody reads
