# SPDX-License-Identifier: Apache-2.0
"""When shapes in signatures are checked: always, but for where a test file says otherwise.

A fit calls sixty thousand functions, and checking their shapes takes four fifths of its time. So files of many fits go
without, and each has tests with `checked_types` that go through all it does once.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import jaxtyping
import pytest


@contextmanager
def checks(on: bool) -> Iterator[None]:
    """Check shapes, or do not; then as before."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", not on)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture
def unchecked_types() -> Iterator[None]:
    """Arguments reach the function as they would in use: the tests' type checker does not refuse them first."""
    with checks(False):
        yield


@pytest.fixture(scope="module")
def unchecked_fits() -> Iterator[None]:
    """For a whole file: its fits are not checked."""
    with checks(False):
        yield


@pytest.fixture
def checked_types() -> Iterator[None]:
    """For a test of such a file: its fits are checked."""
    with checks(True):
        yield
