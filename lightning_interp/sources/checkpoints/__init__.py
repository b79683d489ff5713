# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of other programs, read without running anything they name."""
