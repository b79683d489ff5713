# SPDX-License-Identifier: Apache-2.0
"""The proof that training is untouched: the same training with the monitor and without it, compared bit by bit."""

from lightning_interp.neutrality.check import (
    Difference,
    NeutralityReport,
    OnProgress,
    check_neutral,
    compare,
)

__all__ = ["Difference", "NeutralityReport", "OnProgress", "check_neutral", "compare"]
