# SPDX-License-Identifier: Apache-2.0
"""Parts of benchmarks/gpu.py: one file for each section, and what they share: rows, time, the machine, trainings."""
