# SPDX-License-Identifier: Apache-2.0
"""Benchmarks are scripts in a folder of their own, which has to be told to python."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """`gpu_parts` can be imported."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    """What records runs silences the package's log; other tests of the same process listen to it."""
    logger = logging.getLogger("lightning_interp")
    before = logger.level
    yield
    logger.setLevel(before)
