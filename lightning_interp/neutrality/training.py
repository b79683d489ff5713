# SPDX-License-Identifier: Apache-2.0
"""The process that trains once, with the monitor or without, and writes down digests of all that must not differ.

Lightning is whichever package the user's trainer comes from, so it is imported by name.
"""

import json
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from lightning_interp.config.monitor_config import SWITCH, switched_off
from lightning_interp.core.child_python import take_over
from lightning_interp.core.errors import ConfigError, InterpError, RunError
from lightning_interp.core.imports import also_from, import_object
from lightning_interp.core.namespaces import FABRICS, NAMESPACES, installed
from lightning_interp.neutrality.process import (
    BAD_INPUT,
    FAILURE,
    MONITOR_FAILED,
    OUTCOME,
    TRAINING_FAILED,
    TrainingOrder,
)
from lightning_interp.neutrality.recording import Recording, is_monitor

_RETURNS = "(trainer, module), (trainer, module, data) or (trainer, module, train_loader, val_loader)"
_MOST_PARTS = 4


def main(folder: Path) -> int:
    """Carry out the order in a folder; what goes wrong is written there.

    Returns:
        Exit code: 0 done, 1 failed.
    """
    try:
        observed = _train(TrainingOrder.read(folder), folder)
    except ConfigError as err:
        return _failed(folder, BAD_INPUT, str(err))
    except _MonitorError as err:
        return _failed(folder, MONITOR_FAILED, str(err))
    except Exception as err:
        traceback.print_exc()
        return _failed(folder, TRAINING_FAILED, f"{type(err).__name__}: {err}")
    if observed is not None:
        (folder / OUTCOME).write_text(json.dumps({"observed": observed}), encoding="utf-8")
    return 0


class _MonitorError(InterpError):
    """The monitor did not watch the training to its end."""


def _failed(folder: Path, kind: str, message: str) -> int:
    (folder / FAILURE).write_text(json.dumps({"kind": kind, "message": message}), encoding="utf-8")
    return 1


def _train(order: TrainingOrder, folder: Path) -> int | None:
    """Train; returns how many steps the monitor analyzed, None in all processes but the first of a distributed training."""
    take_over(order.import_path)
    _seed(order.seed)  # modules may draw while they are imported
    with also_from(order.folders):
        build = import_object(order.factory, argument="factory")
    if not callable(build):
        raise ConfigError(f"factory: {order.factory} is a {type(build).__name__}, expected a function without arguments.")
    _seed(order.seed)
    trainer, module, data = _parts(build(), order.factory)
    lightning = _namespace(trainer, order.factory)
    _check_active(trainer)
    monitors = _place_monitors(trainer, lightning, folder if order.monitored else None)
    recorder = type("Recorder", (Recording, lightning.Callback), {})(order, folder)
    trainer.callbacks.append(recorder)
    trainer.fit(module, *data)
    if trainer.global_step == 0:
        raise ConfigError("factory: the training made no optimizer step, so there is nothing to compare.")
    if not trainer.is_global_zero:
        return None
    recorder.ended(trainer, module)
    return sum(_observed(monitor) for monitor in monitors)


def _seed(seed: int) -> None:
    installed(FABRICS)[0].seed_everything(seed, verbose=False)


def _parts(built: object, factory: str) -> tuple[Any, Any, Sequence[Any]]:
    """Trainer, module and data as the factory returned them."""
    if not isinstance(built, tuple | list) or not 2 <= len(built) <= _MOST_PARTS or not hasattr(built[1], "state_dict"):
        raise ConfigError(f"factory: {factory} must return {_RETURNS}, got {_kinds(built)}.")
    return built[0], built[1], built[2:]


def _kinds(built: object) -> str:
    if isinstance(built, tuple | list):
        return f"({', '.join(type(part).__name__ for part in built)})"
    return f"a {type(built).__name__}"


def _namespace(trainer: object, factory: str) -> ModuleType:
    """The package that the trainer comes from: ``lightning.pytorch`` or ``pytorch_lightning``."""
    for base in type(trainer).__mro__:
        for name in NAMESPACES:
            if base.__name__ == "Trainer" and base.__module__.startswith(f"{name}."):
                return import_module(name)
    raise ConfigError(f"factory: {factory} must return {_RETURNS}; the first is a {type(trainer).__name__}, not a Trainer.")


def _check_active(trainer: Any) -> None:
    """Refuse what would switch the monitor off: the comparison would prove nothing."""
    if switched_off():
        raise ConfigError(f"{SWITCH}=0 is set and switches the monitor off. Unset it to check the monitor.")
    if getattr(trainer, "fast_dev_run", False):
        raise ConfigError("factory: the monitor does nothing under fast_dev_run. Build the trainer without it.")


def _place_monitors(trainer: Any, lightning: ModuleType, folder: Path | None) -> list[Any]:
    """Leave the trainer with its monitors, or one where it has none, writing to `folder`; None takes all away."""
    own = [callback for callback in trainer.callbacks if is_monitor(callback)]
    if folder is None:
        trainer.callbacks = [callback for callback in trainer.callbacks if not is_monitor(callback)]
        return []
    if not own:
        own = [import_object("lightning_interp:InterpMonitor", argument="monitor")()]
        # Where the Trainer puts it when it is given: before those that write checkpoints.
        checkpoints = (i for i, c in enumerate(trainer.callbacks) if isinstance(c, lightning.callbacks.Checkpoint))
        trainer.callbacks.insert(next(checkpoints, len(trainer.callbacks)), own[0])
    for number, monitor in enumerate(own):
        monitor.config = replace(monitor.config, dirpath=folder / f"run_{number}", report=False)
    return own


def _observed(monitor: Any) -> int:
    """Steps the monitor analyzed.

    Raises:
        _MonitorError: It gave up, so that some of the training was without it.
    """
    from lightning_interp.store import open_run

    try:
        run = open_run(monitor.run_dir)
    except (TypeError, RunError) as err:
        raise _MonitorError("the monitor did not start") from err
    if run.manifest.status != "finished":
        raise _MonitorError(f"the monitor did not last to the end of the training, its status is {run.manifest.status!r}")
    return sum(bool(record.values or record.layers) for record in run.all_records)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
