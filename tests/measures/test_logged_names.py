# SPDX-License-Identifier: Apache-2.0
"""One file knows the loggers' prefix, and a measure's file alone spells the names it makes."""

import ast
from pathlib import Path

import pytest

import lightning_interp
from lightning_interp.measures import registry
from lightning_interp.measures.logged_names import STEP_KEY, logged_name, record_name, section_of

PACKAGE = Path(lightning_interp.__file__).parent
PREFIXES = {"interp/": "measures/logged_names.py", "component/": "core/tca_settings.py"}


def texts(path: Path) -> set[str]:
    """Every string of a file but docstrings; of f-strings the beginning."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    strings = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in prose)
    return {node.value for node in strings if isinstance(node.value, str)}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_one_file_spells_the_prefix(prefix: str) -> None:
    found = {path for path in PACKAGE.rglob("*.py") if any(text.startswith(prefix) for text in texts(path))}
    assert {path.relative_to(PACKAGE).as_posix() for path in found} == {PREFIXES[prefix]}


@pytest.mark.parametrize("name", ["participation_ratio", "near_zero_share", "hoyer", "weight_norm_slope", "loss_gap"])
def test_a_record_name_is_spelled_by_its_measure_and_by_what_judges_it(name: str) -> None:
    found = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if name in texts(path)}
    judges = {file for file in found if file.startswith("phases/")}
    exports = {"measures/__init__.py"}  # of functions that have the same name
    module = registry.makers()[name].__module__.rpartition(".")[2]
    assert found - judges - exports == {f"measures/{module}.py"}


def test_a_logged_name_leads_back_to_its_record() -> None:
    assert record_name(logged_name("hoyer/act")) == "hoyer/act"
    assert record_name("train_loss") is record_name("interpolation_loss") is None
    assert STEP_KEY == "interp/step"


@pytest.mark.parametrize(
    ("name", "section"),
    [("train_loss", "losses"), ("hoyer/act#1", "sparsity"), ("component/act/0", "components"), ("mine", "others")],
)
def test_section_of_a_name(name: str, section: str) -> None:
    assert section_of(name) == section
