# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/measures.md, made of what each measure says of its names; run it to renew the page."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from lightning_interp.measures import registry
from lightning_interp.measures.base import Measure

PAGE = Path(__file__).parents[2] / "docs" / "measures.md"
TABLE = re.compile(r"(<!-- table of (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
_HEAD = "| name | what it is | unit | needs | cost |\n|---|---|---|---|---|\n"
_COSTS = {"free": "no pass over the probe", "forward": "one pass over the probe", "heavy": "more than one pass"}


def docs_table(measures: Iterable[type[Measure]]) -> str:
    """A Markdown table with one row for each name that has a label, vectors among them."""
    return _HEAD + "".join(row for measure in measures for row in _rows(measure))


def renewed(page: str) -> str:
    """The page with each table as the registry makes it."""
    return TABLE.sub(lambda found: f"{found[1]}{docs_table(getattr(registry, found[2]))}{found[3]}", page)


def _rows(measure: type[Measure]) -> Iterable[str]:
    needs, cost = ", ".join(sorted(measure.needs)), _COSTS[measure.cost]
    for names, kind in ((measure.names, ""), (measure.vector_names, " (vector)")):
        for name, label in names.items() if isinstance(names, Mapping) else ():
            yield f"| `{name}`{kind} | {label.about} | {label.unit or '–'} | {needs} | {cost} |\n"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
