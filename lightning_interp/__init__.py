# SPDX-License-Identifier: Apache-2.0
"""lightning_interp: watch how a network learns while it learns.

Names are resolved when first used, so that the core imports without Lightning and ``--help`` without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_interp.capture import EveryNSteps as EveryNSteps
    from lightning_interp.capture import LogSpaced as LogSpaced
    from lightning_interp.capture import Schedule as Schedule
    from lightning_interp.core.errors import CheckpointError as CheckpointError
    from lightning_interp.core.errors import ConfigError as ConfigError
    from lightning_interp.core.errors import CorruptSnapshotError as CorruptSnapshotError
    from lightning_interp.core.errors import InterpError as InterpError
    from lightning_interp.core.errors import MeasureSkipped as MeasureSkipped
    from lightning_interp.core.errors import MetricsError as MetricsError
    from lightning_interp.core.errors import ProbeError as ProbeError
    from lightning_interp.core.errors import RunError as RunError
    from lightning_interp.core.errors import ShapeError as ShapeError
    from lightning_interp.core.outcome import Outcome as Outcome
    from lightning_interp.core.records import Observation as Observation
    from lightning_interp.core.records import Probe as Probe
    from lightning_interp.core.records import ProbeOutputs as ProbeOutputs
    from lightning_interp.core.records import ProbeSplit as ProbeSplit
    from lightning_interp.core.records import Record as Record
    from lightning_interp.core.records import Snapshot as Snapshot
    from lightning_interp.core.tca_settings import TCA as TCA
    from lightning_interp.core.timeline import Alarm as Alarm
    from lightning_interp.core.timeline import LossStage as LossStage
    from lightning_interp.core.timeline import Phase as Phase
    from lightning_interp.core.timeline import Timeline as Timeline
    from lightning_interp.measures import CyclicGroupTask as CyclicGroupTask
    from lightning_interp.measures import Label as Label
    from lightning_interp.measures import Measure as Measure
    from lightning_interp.monitor.callback import InterpMonitor as InterpMonitor
    from lightning_interp.monitor.loop import Monitor as Monitor
    from lightning_interp.neutrality import check_neutral as check_neutral
    from lightning_interp.phases import PhaseChange as PhaseChange
    from lightning_interp.phases import detect_phases as detect_phases
    from lightning_interp.posthoc.checkpoint_analysis import analyze_checkpoints as analyze_checkpoints
    from lightning_interp.posthoc.comparison import Comparison as Comparison
    from lightning_interp.posthoc.comparison import compare_runs as compare_runs
    from lightning_interp.posthoc.unfinished_run import analyze_run as analyze_run
    from lightning_interp.store import Run as Run
    from lightning_interp.store import open_run as open_run

__version__ = "0.1.0"

_NAMES = {
    "capture": ("EveryNSteps", "LogSpaced", "Schedule"),
    "core.errors": (
        "CheckpointError",
        "ConfigError",
        "CorruptSnapshotError",
        "InterpError",
        "MeasureSkipped",
        "MetricsError",
        "ProbeError",
        "RunError",
        "ShapeError",
    ),
    "core.outcome": ("Outcome",),
    "core.records": ("Observation", "Probe", "ProbeOutputs", "ProbeSplit", "Record", "Snapshot"),
    "core.tca_settings": ("TCA",),
    "core.timeline": ("Alarm", "LossStage", "Phase", "Timeline"),
    "measures": ("CyclicGroupTask", "Label", "Measure"),
    "monitor.callback": ("InterpMonitor",),
    "monitor.loop": ("Monitor",),
    "neutrality": ("check_neutral",),
    "phases": ("PhaseChange", "detect_phases"),
    "posthoc.checkpoint_analysis": ("analyze_checkpoints",),
    "posthoc.comparison": ("Comparison", "compare_runs"),
    "posthoc.unfinished_run": ("analyze_run",),
    "store": ("Run", "open_run"),
}
"""The public names by the module that each of them lives in."""
_HOMES = {name: home for home, names in _NAMES.items() for name in names}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
