# SPDX-License-Identifier: Apache-2.0
"""Several runs side by side: boundaries, phase time, statistics over seeds, and representations at matched phases."""

from lightning_interp.phases.alignment import Alignment, Knot, align
from lightning_interp.posthoc.comparison.boundaries import Boundary, Summary, boundary_table, summarize
from lightning_interp.posthoc.comparison.compare import (
    MAIN_SERIES,
    ComparedRun,
    Comparison,
    Trajectory,
    compare_runs,
    unique_names,
)
from lightning_interp.posthoc.comparison.representations import LayerSimilarity, PhaseSimilarity, compare_representations

__all__ = [
    "MAIN_SERIES",
    "Alignment",
    "Boundary",
    "ComparedRun",
    "Comparison",
    "Knot",
    "LayerSimilarity",
    "PhaseSimilarity",
    "Summary",
    "Trajectory",
    "align",
    "boundary_table",
    "compare_representations",
    "compare_runs",
    "summarize",
    "unique_names",
]
