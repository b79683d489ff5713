# SPDX-License-Identifier: Apache-2.0
"""Planted tensors, and arguments of wrong types, as fixtures."""

import importlib.util
import sys
from pathlib import Path

import pytest
from type_checks import checked_types, unchecked_fits, unchecked_types

__all__ = ["checked_types", "unchecked_fits", "unchecked_types"]


@pytest.fixture(scope="session")
def planted():
    """The module `planted.py` beside this file."""
    spec = importlib.util.spec_from_file_location("tca_planted", Path(__file__).with_name("planted.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
