# SPDX-License-Identifier: Apache-2.0
"""What a replica finds where its Trainer was: plain facts to read, and optimizers that stand still."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Literal

from torch import nn

from lightning_interp.core.errors import ProbeError
from lightning_interp.core.namespaces import NAMESPACES

StepName = Literal["validation_step", "training_step"]

SETTINGS = (
    "max_epochs",
    "min_epochs",
    "max_steps",
    "num_training_batches",
    "estimated_stepping_batches",
    "accumulate_grad_batches",
    "log_every_n_steps",
    "check_val_every_n_epoch",
    "gradient_clip_val",
)
"""Numbers of a Trainer that a step may read of its stand-in, too."""
STEPS: tuple[StepName, ...] = ("validation_step", "training_step")


class NoTrainerError(ProbeError, AttributeError):
    """A step asks the Trainer for what a replica does not have. An `AttributeError`, so that `getattr` has its default."""


class TrainerStandIn(SimpleNamespace):
    """What a step may read of a Trainer: where the training stands, and which kind of step runs."""

    step_name: StepName = "validation_step"

    def __getattr__(self, name: str) -> Any:
        raise NoTrainerError(
            f"{self.step_name} reads trainer.{name}, which a replica does not have; pass probe_step= (--probe-step)"
        )


def attach_stand_in(replica: nn.Module, *, step: int, epoch: int, settings: Mapping[str, Any] | None = None) -> None:
    """Give a Lightning replica a read-only stand-in for its Trainer. Modules of other kinds are left alone.

    Args:
        replica: The module.
        step: Optimizer step of its weights.
        epoch: Epoch the step belongs to.
        settings: What of `SETTINGS` is known of the real Trainer.
    """
    if not hasattr(type(replica), "trainer"):
        return
    logger = _quiet_logger(replica)
    stand_in = TrainerStandIn(
        **{name: value for name, value in (settings or {}).items() if name in SETTINGS},
        global_step=step,
        current_epoch=epoch,
        sanity_checking=False,
        testing=False,
        predicting=False,
        world_size=1,
        num_devices=1,
        global_rank=0,
        local_rank=0,
        is_global_zero=True,
        logger=logger,
        loggers=[logger],
        callbacks=[],
        callback_metrics={},
        logged_metrics={},
        progress_bar_metrics={},
    )
    replica.trainer = stand_in  # type: ignore[assignment]
    enter_step(replica, "validation_step")


def enter_step(replica: nn.Module, name: StepName) -> None:
    """Let the stand-in say that this kind of step runs; a module without one, or with a real Trainer, is left alone."""
    stand_in = getattr(replica, "_trainer", None)
    if not isinstance(stand_in, TrainerStandIn):
        return
    stand_in.step_name = name
    stand_in.training, stand_in.validating = name == "training_step", name == "validation_step"
    stand_in.state = _state(replica, "TRAINING" if name == "training_step" else "VALIDATING")


def stand_still(replica: nn.Module, *, needed: bool) -> None:
    """Replace what a step of manual optimization calls; instance attributes, the class is untouched.

    Optimizers are made as the module makes them, once, so that there are as many and their settings can be read; none steps.

    Args:
        replica: The module.
        needed: Whether the step cannot do without them.

    Raises:
        ProbeError: They are needed and cannot be made.
    """
    own = replica.__dict__
    if "optimizers" in own:
        return
    try:
        made, of_rates = _configured(replica)
    except ProbeError:
        if needed:
            raise
        return
    optimizers, schedulers = [IdleOptimizer(each) for each in made], [_Idle(each) for each in of_rates]
    own["optimizers"] = lambda *_, **__: _one_or_all(optimizers)
    own["lr_schedulers"] = lambda: _one_or_all(schedulers) if schedulers else None
    stand_in = getattr(replica, "_trainer", None)
    if isinstance(stand_in, TrainerStandIn):
        stand_in.optimizers = optimizers
        stand_in.lr_scheduler_configs = [SimpleNamespace(scheduler=each) for each in schedulers]
    for name in ("manual_backward", "toggle_optimizer", "untoggle_optimizer", "clip_gradients"):
        own[name] = _nothing


class _Idle:
    """Another object, of which nothing is done that changes anything."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._real, name)

    def step(self, *_: object, **__: object) -> None:
        """Stand still."""


class IdleOptimizer(_Idle):
    """An optimizer that computes what its closure computes and moves no weight."""

    def step(self, closure: Callable[[], Any] | None = None, *_: object, **__: object) -> Any:  # type: ignore[override]
        """The closure's value, or None without one."""
        return closure() if callable(closure) else None

    def zero_grad(self, *_: object, **__: object) -> None:
        """Leave gradients alone."""

    @contextmanager
    def toggle_model(self, *_: object, **__: object) -> Iterator[None]:
        """Lightning's way to optimize some parameters alone."""
        yield

    @property
    def optimizer(self) -> Any:
        """What Lightning's own wrapper calls the optimizer in it."""
        return self


def _configured(replica: nn.Module) -> tuple[list[Any], list[Any]]:
    """Optimizers and schedulers as `configure_optimizers` gives them, in any of the forms that Lightning takes.

    Raises:
        ProbeError: The method fails.
    """
    try:
        given = replica.configure_optimizers()  # type: ignore[operator]
    except ProbeError:
        raise
    except Exception as err:
        raise ProbeError(f"configure_optimizers failed on a replica ({type(err).__name__}: {err})") from err
    if isinstance(given, list | tuple) and len(given) == 2 and isinstance(given[0], list | tuple):
        return list(given[0]), _schedulers(given[1])
    optimizers, schedulers = [], []
    for each in given if isinstance(given, list | tuple) else [given]:
        if isinstance(each, Mapping):
            optimizers.append(each["optimizer"])
            schedulers += _schedulers(each.get("lr_scheduler"))
        elif each is not None:
            optimizers.append(each)
    return optimizers, schedulers


def _schedulers(given: Any) -> list[Any]:
    listed = given if isinstance(given, list | tuple) else [] if given is None else [given]
    return [each["scheduler"] if isinstance(each, Mapping) else each for each in listed]


def _one_or_all(found: list[Any]) -> Any:
    return found[0] if len(found) == 1 else found


def _state(replica: nn.Module, stage: str) -> Any:
    """What `trainer.state` is in this stage of a fit, in the classes of the module's own Lightning."""
    states = _of_lightning(replica, "trainer.states")
    if states is None:
        return SimpleNamespace(fn="fit", stage=stage.lower())
    return states.TrainerState(states.TrainerStatus.RUNNING, states.TrainerFn.FITTING, states.RunningStage[stage])


def _quiet_logger(replica: nn.Module) -> Any:
    """Lightning's logger that takes everything and keeps nothing, None if this Lightning has none."""
    loggers = _of_lightning(replica, "loggers.logger")
    return loggers.DummyLogger() if hasattr(loggers, "DummyLogger") else None


def _of_lightning(replica: nn.Module, name: str) -> Any:
    """A module of the Lightning that the replica's class comes from, None if there is none."""
    for base in type(replica).__mro__:
        namespace = next((each for each in NAMESPACES if base.__module__.startswith(each + ".")), None)
        if namespace is not None:
            try:
                return import_module(f"{namespace}.{name}")
            except ImportError:
                return None
    return None


def _nothing(*_: object, **__: object) -> None:
    """Stands in for what only a training does."""
