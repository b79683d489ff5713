# SPDX-License-Identifier: Apache-2.0
"""The synthetic and recorded histories, as a fixture."""

import phase_histories
import pytest


@pytest.fixture(scope="session")
def histories():
    """The module `phase_histories` of tests/support."""
    return phase_histories
