# SPDX-License-Identifier: Apache-2.0
"""Several runs side by side: boundaries, phase time, statistics over seeds, and representations at matched phases."""

from lightning_interp.posthoc.comparison.boundaries import Boundary, boundary_table, summarize
from lightning_interp.posthoc.comparison.compare import ComparedRun, Comparison, compare_runs, unique_names
from lightning_interp.posthoc.comparison.representations import LayerSimilarity, PhaseSimilarity

__all__ = [
    "Boundary",
    "ComparedRun",
    "Comparison",
    "LayerSimilarity",
    "PhaseSimilarity",
    "boundary_table",
    "compare_runs",
    "summarize",
    "unique_names",
]
