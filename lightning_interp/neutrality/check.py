# SPDX-License-Identifier: Apache-2.0
"""The proof that training is untouched: the user's own training with the monitor and without, compared bit by bit.

Each training runs in a fresh process. The one without runs twice: where these two differ, the training is not
deterministic and nothing can be said about the monitor.
"""

import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from lightning_interp.core.errors import ConfigError
from lightning_interp.core.imports import folders_for, is_found
from lightning_interp.neutrality.process import Moment, TrainingOrder, TrainingRecord, train

Kind = Literal["tensor", "output", "optimizer", "random state", "length"]
"""What may differ: a tensor of the module's state_dict, a value that training_step returned, an entry of an optimizer, a
random state, the number of steps."""
Verdict = Literal["neutral", "differs", "not_watched", "not_deterministic"]
OnProgress = Callable[[str, int], None]

KINDS: tuple[Kind, ...] = ("tensor", "output", "optimizer", "random state")
WITHOUT, AGAIN, WITH, CLOSER = "without the monitor", "again without it", "with the monitor", "for a closer look"
"""Names of the trainings, in their order; the last one only where something differs."""


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same in two trainings.

    Attributes:
        step: First optimizer step after which it differed, of those that were compared.
        kind: What it is.
        name: Its name.
        largest: Largest absolute difference of its elements at that step; None where it is not known.
    """

    step: int
    kind: Kind
    name: str
    largest: float | None = None


@dataclass(frozen=True)
class NeutralityReport:
    """What comparing the trainings showed.

    Attributes:
        steps: Optimizer steps of the training.
        moments: Times at which the trainings were compared: before the first step, after steps, and after the end.
        tensors: Tensors compared each time.
        optimizer_tensors: Optimizer entries compared after the end.
        random_states: Random states compared each time.
        observed: Steps the monitor analyzed meanwhile.
        differences: What differs with the monitor, the first first; one entry for each name.
        control: What differs between two trainings without it; where this is not empty, nothing can be said.
    """

    steps: int
    moments: int
    tensors: int
    optimizer_tensors: int
    random_states: int
    observed: int = 0
    differences: tuple[Difference, ...] = ()
    control: tuple[Difference, ...] = ()
    verdict: Verdict = field(init=False)

    def __post_init__(self) -> None:
        equal = "neutral" if self.observed else "not_watched"
        verdict = "not_deterministic" if self.control else "differs" if self.differences else equal
        object.__setattr__(self, "verdict", verdict)

    def to_dict(self) -> dict[str, Any]:
        """The report in values JSON can hold."""
        return {"schema": 1, "verdict": self.verdict, **asdict(self)}


def check_neutral(
    build: Callable[[], Any] | str,
    *,
    steps: int = 300,
    every: int = 1,
    seed: int = 0,
    on_progress: OnProgress = lambda _stage, _step: None,
) -> NeutralityReport:
    """Train with and without the monitor, each time from the same seed in a new process, and compare every bit.

    Args:
        build: Function without arguments that returns a new ``(trainer, module)``, ``(trainer, module, data)`` or
            ``(trainer, module, train_loader, val_loader)`` each time, or ``pkg.mod:name`` of one. A monitor of the trainer
            is used for the training with it and taken out for the others; without one, a default monitor is added.
        steps: Most optimizer steps.
        every: Optimizer steps from one comparison to the next.
        seed: Where python's, NumPy's and torch's random streams start, before `build` is imported and called.
        on_progress: Told the name of the training that runs, and its latest step.

    Raises:
        ConfigError: `build` cannot be used, or its training fails without the monitor.
        InterpError: The training fails with the monitor, or the monitor fails.
    """
    for name, value, least in (("steps", steps, 1), ("every", every, 1), ("seed", seed, 0)):
        if value < least:
            raise ConfigError(f"{name}: expected a whole number from {least} on, got {value!r}.")
    factory = _factory_path(build)
    order = TrainingOrder(
        factory=factory,
        monitored=False,
        steps=steps,
        every=every,
        seed=seed,
        keep=None,
        parent=os.getpid(),
        import_path=tuple(sys.path),
        folders=folders_for(factory.partition(":")[0]),
    )
    with TemporaryDirectory(prefix="interp-neutral-", ignore_cleanup_errors=True) as scratch:
        return _Check(order, Path(scratch), on_progress).report()


class _Check:
    """The trainings of one check, in numbered folders."""

    def __init__(self, order: TrainingOrder, scratch: Path, on_progress: OnProgress) -> None:
        self._order = order
        self._scratch = scratch
        self._on_progress = on_progress
        self._count = 0

    def report(self) -> NeutralityReport:
        plain = self._train(WITHOUT)
        control = compare(plain.moments, self._train(AGAIN).moments)
        if control:
            return _summary(plain, control=control)
        watched = self._train(WITH, monitored=True)
        differences = compare(plain.moments, watched.moments)
        control, differences = self._look_closer(plain, differences)
        return _summary(plain, observed=watched.observed, differences=differences, control=control)

    def _train(self, stage: str, **changes: Any) -> TrainingRecord:
        self._count += 1
        folder = self._scratch / str(self._count)
        folder.mkdir()
        self._on_progress(stage, 0)
        return train(replace(self._order, **changes), folder, on_step=lambda step: self._on_progress(stage, step))

    def _look_closer(
        self, plain: TrainingRecord, differences: tuple[Difference, ...]
    ) -> tuple[tuple[Difference, ...], tuple[Difference, ...]]:
        """Train both ways again up to the first tensor that differs, to measure by how much.

        Returns:
            Differences between the trainings without the monitor, which may show only now; differences with it, measured.
        """
        step = next((found.step for found in differences if found.kind == "tensor"), None)
        if step is None:
            return (), differences
        shorter = {"steps": max(1, step), "keep": step}
        third = self._train(CLOSER, **shorter)
        watched = self._train(CLOSER, monitored=True, **shorter)
        until = [moment for moment in third.moments if not moment.ended]
        control = compare(plain.moments[: len(until)], until)
        if third.kept is None or watched.kept is None:
            return control, differences
        largest = _largest_differences(third.kept, watched.kept)
        measured = (
            replace(found, largest=largest.get(found.name)) if (found.kind, found.step) == ("tensor", step) else found
            for found in differences
        )
        return control, tuple(measured)


def compare(first: Sequence[Moment], second: Sequence[Moment]) -> tuple[Difference, ...]:
    """What differs between two trainings: for each name the first step at which it does, in the order of time."""
    found: dict[tuple[Kind, str], Difference] = {}
    for one, other in zip(first, second, strict=False):
        if (one.step, one.ended) != (other.step, other.ended):
            break
        for kind in KINDS:
            here, there = one.digests.get(kind, {}), other.digests.get(kind, {})
            for name in {**here, **there}:
                if here.get(name) != there.get(name):
                    found.setdefault((kind, name), Difference(one.step, kind, name))
    times = [[(moment.step, moment.ended) for moment in record] for record in (first, second)]
    if times[0] != times[1]:
        ends = [record[-1].step if record else 0 for record in (first, second)]
        name = f"the training ends after step {ends[0]} or {ends[1]}"
        found["length", name] = Difference(min(ends), "length", name)
    return tuple(sorted(found.values(), key=lambda difference: difference.step))


def _factory_path(build: Callable[[], Any] | str) -> str:
    """The factory as ``pkg.mod:name``, refused early where another process cannot find it."""
    if isinstance(build, str):
        path = build
    else:
        path = f"{getattr(build, '__module__', '')}:{getattr(build, '__qualname__', '')}"
        if path.startswith("__main__:") or "<" in path or path.endswith(":"):
            raise ConfigError(f"factory: {path} cannot be imported by another process. Move it to the top of a module.")
    module, mark, name = path.partition(":")
    package = module.split(".")[0]
    if not mark or not package or not name:
        raise ConfigError(f"factory: expected 'pkg.mod:name', got {path!r}.")
    if not is_found(package):
        raise ConfigError(
            f"factory: cannot import {module!r} (no module {package!r}). Run from the folder that holds it, or install it."
        )
    return path


def _largest_differences(first: Path, second: Path) -> dict[str, float]:
    """Largest absolute difference of each tensor in two files, where shapes agree and it is a number."""
    import torch

    one, other = (torch.load(path, map_location="cpu", weights_only=True) for path in (first, second))
    found: dict[str, float] = {}
    for name in one.keys() & other.keys():
        here, there = one[name], other[name]
        if here.shape == there.shape and here.numel():
            wide = torch.complex128 if here.is_complex() else torch.float64
            largest = (here.to(wide) - there.to(wide)).abs().max().item()
            if math.isfinite(largest):
                found[name] = largest
    return found


def _summary(plain: TrainingRecord, **found: Any) -> NeutralityReport:
    last = plain.moments[-1]
    return NeutralityReport(
        steps=last.step,
        moments=len(plain.moments),
        tensors=len(last.digests["tensor"]),
        optimizer_tensors=len(last.digests["optimizer"]),
        random_states=len(last.digests["random state"]),
        **found,
    )
