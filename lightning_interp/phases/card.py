# SPDX-License-Identifier: Apache-2.0
"""How the early warning did on runs it had not seen. Written by ``benchmarks/phases/calibrate.py --card``; do not edit."""

MEASURED: dict[str, str] = {}
