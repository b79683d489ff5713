# SPDX-License-Identifier: Apache-2.0
"""Numbers fitted on the calibration part of the pool. Written by ``benchmarks/phases/calibrate.py``; do not edit."""

from lightning_interp.phases.linear_score import LinearScore

PERCENTILE_THRESHOLD = 4.5
MARGINS = LinearScore(
    intercept=-1.001,
    inputs={
        "heldout_gain": (0.2888, 0.3619, 2.2841),
        "heldout_slope": (0.2767, 0.6273, 0.8949),
        "train_gain": (0.5829, 0.303, -0.1346),
    },
)
