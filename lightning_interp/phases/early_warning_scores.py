# SPDX-License-Identifier: Apache-2.0
"""How the early warning did on runs it had not seen. Written by ``benchmarks/phases/calibrate.py --card``; do not edit."""

MEASURED: dict[str, str] = {
    "held-out percentile": "40 of 41 detected in time, 0 of 60 false alarms, median lead 76% of the step of generalization",
    "held-out accuracy": "41 of 41 detected in time, 0 of 60 false alarms, median lead 50% of the step of generalization",
}
