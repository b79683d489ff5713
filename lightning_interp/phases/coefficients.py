# SPDX-License-Identifier: Apache-2.0
"""Numbers fitted on the calibration part of the pool. Written by ``benchmarks/phases/calibrate.py``; do not edit."""

PERCENTILE_THRESHOLD = 4.5
