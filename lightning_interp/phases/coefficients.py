# SPDX-License-Identifier: Apache-2.0
"""Numbers fitted on the calibration part of the pool. Written by ``benchmarks/phases/calibrate.py``; do not edit."""

from lightning_interp.phases.linear_score import LinearScore

PERCENTILE_THRESHOLD = 4.0
SIGNS = LinearScore(
    intercept=-2.0,
    inputs={
        "rank": (0.0, 0.1, -1.0),
        "rank_slope": (0.0, 0.1, -1.0),
        "train_margin": (1.5, 0.5, 1.0),
        "margin_ratio": (-1.5, 0.5, 1.0),
        "heldout_margin": (0.2, 0.3, 1.0),
        "heldout_margin_slope": (0.0, 0.2, 1.0),
        "norm_slope": (0.0, 0.1, 0.0),
    },
)
