# SPDX-License-Identifier: Apache-2.0
"""One training in a process of its own, so that no global state of another can touch it, and what it wrote down.

Nothing here needs torch: the process that trains does.
"""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightning_interp.core.child_python import child_environment, module_command
from lightning_interp.core.errors import ConfigError, InterpError
from lightning_interp.core.system_features import OWN_GROUP

MOMENTS, PROGRESS, FAILURE, OUTCOME, KEPT, LOG = (
    "moments.jsonl",
    "progress",
    "failure.json",
    "outcome.json",
    "kept.pt",
    "log.txt",
)
BAD_INPUT, MONITOR_FAILED, TRAINING_FAILED = "bad_input", "monitor_failed", "training_failed"
_ORDER = "order.json"
_POLL_S = 0.2
_GRACE_S = 3.0
"""How long a training that is no longer wanted may take to end before it is killed."""
_LINES_SHOWN = 15


@dataclass(frozen=True)
class TrainingOrder:
    """What one training is to do.

    Attributes:
        factory: ``pkg.mod:name`` of the function that builds trainer and module.
        monitored: Whether the monitor watches.
        steps: Most optimizer steps.
        every: Optimizer steps from one moment that is written down to the next.
        seed: What every global random stream starts from.
        keep: Step at which the module's tensors themselves are kept, None for none.
        parent: Process that waits for this training; without it the training ends.
        import_path: ``sys.path`` of that process.
        folders: Where else the factory is, searched for its import alone.
    """

    factory: str
    monitored: bool
    steps: int
    every: int
    seed: int
    keep: int | None
    parent: int
    import_path: tuple[str, ...]
    folders: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> "TrainingOrder":
        """The order that lies in a folder."""
        content = json.loads((folder / _ORDER).read_text(encoding="utf-8"))
        return cls(**{**content, **{name: tuple(content[name]) for name in ("import_path", "folders")}})

    def write(self, folder: Path) -> None:
        """Put the order into a folder."""
        (folder / _ORDER).write_text(json.dumps(asdict(self)), encoding="utf-8")


@dataclass(frozen=True)
class Moment:
    """Digests of everything that must not differ, at one time of a training.

    Attributes:
        step: Optimizer step.
        ended: Whether the training was over.
        digests: By kind (``tensor``, ``output``, ``optimizer``, ``random state``), then by name.
    """

    step: int
    ended: bool
    digests: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class TrainingRecord:
    """What a training wrote down.

    Attributes:
        moments: In the order of time.
        observed: Steps that the monitor analyzed, 0 without it.
        kept: File with the tensors that were asked for, None where there are none.
    """

    moments: tuple[Moment, ...]
    observed: int
    kept: Path | None


def train(order: TrainingOrder, folder: Path, *, on_step: Callable[[int], None]) -> TrainingRecord:
    """Train in a new process and read what it wrote into the empty folder; `on_step` is told the latest step meanwhile.

    Raises:
        ConfigError: The factory cannot be used, or its training fails without the monitor.
        InterpError: The training fails with the monitor.
    """
    order.write(folder)
    # Sets of strings have another order in each process unless their hashes are fixed.
    environment = {"PYTHONHASHSEED": "0", **child_environment()}
    command = module_command("lightning_interp.neutrality.training", str(folder))
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, process_group=OWN_GROUP
        )
        try:
            _wait(process, folder / PROGRESS, on_step)
        finally:
            _stop(process)
    outcome = folder / OUTCOME
    if process.returncode != 0 or not outcome.exists():
        raise _failure(order, folder, process.returncode)
    kept = folder / KEPT
    observed = json.loads(outcome.read_text(encoding="utf-8"))["observed"]
    return TrainingRecord(_read_moments(folder / MOMENTS), observed, kept if kept.exists() else None)


def _wait(process: "subprocess.Popen[bytes]", progress: Path, on_step: Callable[[int], None]) -> None:
    while True:
        try:
            process.wait(_POLL_S)
            return
        except subprocess.TimeoutExpired:
            with suppress(OSError, ValueError):  # not there yet, or half written
                on_step(int(progress.read_text(encoding="utf-8")))


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the training and what it started in its group, such as data workers; the analyzer ends with its pipe."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
    if OWN_GROUP is None:  # then data workers see for themselves that their parent has gone
        process.kill()
    else:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _read_moments(path: Path) -> tuple[Moment, ...]:
    return tuple(Moment(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines())


def _failure(order: TrainingOrder, folder: Path, code: int) -> InterpError:
    """The error for a training that did not reach its end."""
    failure = folder / FAILURE
    content: dict[str, Any] = json.loads(failure.read_text(encoding="utf-8")) if failure.exists() else {}
    kind = content.get("kind", TRAINING_FAILED)
    reason = content.get("message", f"its process ended with code {code}")
    if kind == BAD_INPUT:
        return ConfigError(reason)
    if kind == MONITOR_FAILED:
        failed = InterpError(f"{reason}.")
    elif order.monitored:
        failed = InterpError(f"the training fails with the monitor, and only with it: {reason}.")
    else:
        failed = ConfigError(f"factory: the training of {order.factory} fails without the monitor: {reason}.")
    tail = "\n".join((folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES_SHOWN:])
    if tail:
        failed.add_note(f"The last lines it printed:\n{tail}")
    return failed
