# SPDX-License-Identifier: Apache-2.0
"""What one analyzer computes, and with what."""

from dataclasses import dataclass

from lightning_interp.analysis.replica import ReplicaSource
from lightning_interp.analysis.worker.pipe import HANG_LIMIT_S, Quarantine
from lightning_interp.core.records import ProbeStep
from lightning_interp.core.tca_settings import TCA
from lightning_interp.measures import Measure


@dataclass(frozen=True)
class AnalysisPlan:
    """What to compute, and with what.

    Attributes:
        measures: Measures in the order they run.
        source: Makes replicas, None where only weights can be measured.
        probe_step: The user's own way to outputs.
        device: Device of the replica and of the components.
        whole_probe: Keep the probe whole however slow it is (a declared task needs every pair).
        strict: Let a failing measure end the analysis.
        without_replica: Why there is no source, for the user.
        shares_gpu: Whether the device is the GPU the training uses.
        tca: Tensor component analysis with its layers named, None where there is none.
        quarantine: What is left out because an analyzer died of it; None tries again what was left out before.
        start_id: Tells this start of an analyzer from others of the same run.
        least_limit_s: Seconds after which an observation may count as hanging, see `Watchdog`.
    """

    measures: tuple[Measure, ...]
    source: ReplicaSource | None
    probe_step: ProbeStep | None = None
    device: str = "cpu"
    whole_probe: bool = False
    strict: bool = False
    without_replica: str = ""
    shares_gpu: bool = False
    tca: TCA | None = None
    quarantine: Quarantine | None = None
    start_id: str = ""
    least_limit_s: float = HANG_LIMIT_S

    @property
    def alone(self) -> tuple[Measure, ...]:
        """Measures that look at one snapshot alone, and so can be done in any order."""
        return tuple(measure for measure in self.measures if "history" not in measure.needs)

    @property
    def of_history(self) -> tuple[Measure, ...]:
        """Measures that look at earlier snapshots, too."""
        return tuple(measure for measure in self.measures if "history" in measure.needs)
