# SPDX-License-Identifier: Apache-2.0
"""Planted tensors, and arguments of wrong types, as fixtures."""

import importlib.util
import sys
from pathlib import Path

import jaxtyping
import pytest


@pytest.fixture(scope="session")
def planted():
    """The module `planted.py` beside this file."""
    spec = importlib.util.spec_from_file_location("tca_planted", Path(__file__).with_name("planted.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def unchecked_types():
    """Arguments reach the function as they would in use: the tests' type checker does not refuse them first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
