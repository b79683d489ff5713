# SPDX-License-Identifier: Apache-2.0
"""Benchmarks are scripts in a folder of their own, which has to be told to python."""

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """`gpu_parts` can be imported."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
