# SPDX-License-Identifier: Apache-2.0
"""Numbers fitted on the calibration part of the pool. Written by ``benchmarks/phases/calibrate.py``; do not edit."""

from lightning_interp.phases.linear_score import LinearScore

PERCENTILE_THRESHOLD = 4.0
MARGINS = LinearScore(
    intercept=-2.0,
    inputs={"heldout_gain": (0.3, 0.3, 1.0), "heldout_slope": (0.2, 0.3, 0.5), "train_gain": (0.5, 0.3, 0.3)},
)
