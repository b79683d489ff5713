# SPDX-License-Identifier: Apache-2.0
"""Metrics histories as other tools leave them: tables, JSON lines, W&B runs, TensorBoard logs."""
