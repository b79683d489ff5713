# SPDX-License-Identifier: Apache-2.0
"""The synthetic and recorded histories, as a fixture."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def histories():
    """The module `histories.py` beside this file."""
    spec = importlib.util.spec_from_file_location("phase_histories", Path(__file__).with_name("histories.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
