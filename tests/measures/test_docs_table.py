# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/measures.md are what the measures say. To renew them: `python tests/support/docs_table.py`."""

from docs_table import PAGE, TABLE, docs_table, renewed

from lightning_interp.measures import registry


def test_the_tables_of_the_page_are_those_of_the_measures() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert TABLE.findall(page) and page == renewed(page), "renew: python tests/support/docs_table.py"


def test_every_built_in_name_says_in_the_table_what_it_is() -> None:
    rows = docs_table(registry.STANDARD + registry.FOURIER).splitlines()[2:]
    cells = {row.split(" | ")[0].strip("| "): row.split(" | ")[1] for row in rows}
    vectors = [f"`{name}` (vector)" for cls in registry.STANDARD + registry.FOURIER for name in cls.vector_names]
    assert sorted(cells) == sorted([*(f"`{name}`" for name in registry.makers()), *vectors])
    assert all(cells.values())
