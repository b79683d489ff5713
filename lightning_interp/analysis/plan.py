# SPDX-License-Identifier: Apache-2.0
"""What one analyzer computes, and with what."""

from dataclasses import dataclass

from lightning_interp.analysis.replica import ReplicaSource
from lightning_interp.core.request import AnalysisRequest
from lightning_interp.measures import Measure


@dataclass(frozen=True)
class AnalysisPlan:
    """What to compute, and with what.

    Attributes:
        request: What is asked, with the device that is used; without `tca` if an analyzer died of it.
        source: Makes replicas, None where only weights can be measured.
        without_replica: Why there is no source, for the user.
        shares_gpu: Whether the device is the GPU the training uses.
    """

    request: AnalysisRequest
    source: ReplicaSource | None
    without_replica: str = ""
    shares_gpu: bool = False

    @property
    def stateless(self) -> tuple[Measure, ...]:
        """Measures that look at one snapshot alone, and so can be done in any order."""
        return tuple(measure for measure in self.request.measures if "history" not in measure.needs)

    @property
    def history_measures(self) -> tuple[Measure, ...]:
        """Measures that look at earlier snapshots, too."""
        return tuple(measure for measure in self.request.measures if "history" in measure.needs)
