# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/phases.md, made of what the rules themselves say; run it to renew the page."""

import ast
import inspect
import re
from itertools import pairwise
from pathlib import Path

from lightning_interp.core.timeline import VERDICTS
from lightning_interp.phases import limits
from lightning_interp.phases.run_state import CONDITIONS
from lightning_interp.phases.wording import MEANINGS, SENTENCES

PAGE = Path(__file__).parents[2] / "docs" / "phases.md"
TABLE = re.compile(r"(<!-- table of (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def renewed(page: str) -> str:
    """The page with each table as the package makes it."""
    return TABLE.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", page)


def phases() -> str:
    """Names of phases and what they mean."""
    return _table(("phase", "what happens"), ((f"`{name}`", words) for name, words in MEANINGS.items()))


def conditions() -> str:
    """Every condition, in words."""
    return _table(("condition", "holds when"), ((f"`{name}`", words) for name, words in CONDITIONS.items()))


def constants() -> str:
    """Every number of the rules with its reason: the string below its assignment."""
    rows, body = [], ast.parse(inspect.getsource(limits)).body
    for assignment, reason in pairwise(body):
        if isinstance(assignment, ast.Assign) and isinstance(reason, ast.Expr):
            names = [node.id for node in ast.walk(assignment.targets[0]) if isinstance(node, ast.Name)]
            values = ", ".join(f"`{name}` {getattr(limits, name):g}" for name in names)
            rows.append((values, " ".join(ast.literal_eval(reason.value).split())))
    return _table(("number", "reason"), rows)


def verdicts() -> str:
    """What is said of each verdict, with braces for the numbers."""
    rows = []
    for name in VERDICTS:
        said = [text for key, text in SENTENCES.items() if key.split("/")[0] == name]
        rows.append((f"`{name}`", "<br>".join(text.replace("{", "*").replace("}", "*") for text in said)))
    return _table(("verdict", "what is said"), rows)


def _table(head, rows) -> str:
    lines = [" | ".join(row) for row in (head, ["---"] * len(head), *rows)]
    return "".join(f"| {line} |\n" for line in lines)


TABLES = {"phases": phases, "conditions": conditions, "constants": constants, "verdicts": verdicts}


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
