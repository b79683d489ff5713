# SPDX-License-Identifier: Apache-2.0
"""docs/phases.md lists the rules the detector has. To renew it: `python tests/support/phases_tables.py`."""

import ast
import inspect

import pytest
from phases_tables import PAGE, TABLE, TABLES, constants, renewed

from lightning_interp.phases import limits


def test_the_page_lists_the_rules_as_they_are():
    page = PAGE.read_text(encoding="utf-8")
    assert {name for _, name, _ in TABLE.findall(page)} == set(TABLES)
    assert page == renewed(page), "renew: python tests/support/phases_tables.py"


@pytest.mark.parametrize("name", [name for name in vars(limits) if name.isupper()])
def test_every_number_of_the_rules_has_a_reason(name):
    assert f"`{name}` {getattr(limits, name):g}" in constants()


def test_numbers_of_rules_are_nowhere_else():
    """A comparison in the rules or the verdict names its limit: no number over 1 or with a point is written there."""
    from lightning_interp.phases import rules, state_machine, verdict

    for module in (rules, state_machine, verdict):
        numbers = [n.value for n in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(n, ast.Constant)]
        floats = {value for value in numbers if isinstance(value, float)} - {0.0, 1e-12}
        assert not floats, (module.__name__, floats)
