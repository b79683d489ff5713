# SPDX-License-Identifier: Apache-2.0
"""The shape of the package: its rooms, the direction of imports between them, and the size of what is in them."""

import ast
import importlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "lightning_interp"

FLOORS = {
    "core": 1,
    "measures": 2,
    "tca": 2,
    "phases": 2,
    "store": 3,
    "capture": 4,
    "analysis": 4,
    "dashboards": 4,
    "sources": 4,
    "config": 5,
    "monitor": 6,
    "neutrality": 6,
    "posthoc": 6,
    "demo": 7,
    "cli": 7,
}
"""Every room of the package and its floor. Imports lead down; a folder that is not here belongs nowhere yet."""
NEIGHBOURS = {("cli", "demo")}
"""Who may import whom on one floor: the command line starts the demo."""
MATHEMATICS = {"measures", "tca", "phases"}
FILE_FORMATS = {"safetensors", "lightning", "pytorch_lightning", "wandb", "plotly", "pathlib", "tempfile", "shutil"}
"""What the mathematics has no business with."""
WANDB = {"dashboards/loggers/wandb.py", "dashboards/loggers/workspace.py"}
CONSOLES = {"core/terminal.py", "demo/progress.py", "demo/run.py"}
"""Who makes or takes a console: the demo's own is given to it, every other makes what it shows inert."""

LONGEST_FILE, LONGEST_FUNCTION = 400, 60


@cache
def sources() -> Mapping[str, ast.Module]:
    """Every file of the package by its path in it, parsed."""
    found = sorted(PACKAGE.rglob("*.py"))
    return {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in found}


def room_of(name: str) -> str:
    return name.partition("/")[0]


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(tree: ast.AST, *, lazy: bool = True) -> Iterator[str]:
    """Dotted names a file imports; those for type checkers only are left out, and without `lazy` those in functions."""
    for node in ast.iter_child_nodes(tree):
        if is_type_checking(node) or (not lazy and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield from imports(node, lazy=lazy)


def packages_imported(name: str, *, lazy: bool = True) -> set[str]:
    return {each.partition(".")[0] for each in imports(sources()[name], lazy=lazy)}


def files_imported(name: str) -> set[str]:
    """Files of the package that a file of it imports, in functions as well."""
    found = set()
    for dotted in imports(sources()[name]):
        first, *parts = dotted.split(".")
        if first == PACKAGE.name:
            tries = ("/".join(parts[:count]) for count in range(len(parts), -1, -1))
            found.add(next(file for each in tries for file in (f"{each}.py", f"{each}/__init__.py") if file in known()))
    return found - {name}


@cache
def known() -> frozenset[str]:
    return frozenset({*sources(), "/__init__.py"})


def test_every_folder_has_a_floor_and_the_root_has_one_file() -> None:
    assert {room_of(name) for name in sources() if "/" in name} == set(FLOORS)
    assert [name for name in sources() if "/" not in name] == ["__init__.py"]


def test_imports_lead_down() -> None:
    crossings = {(name, other) for name in sources() if "/" in name for other in files_imported(name)}
    assert not [(name, other) for name, other in crossings if not is_allowed(room_of(name), room_of(other))]


def is_allowed(room: str, other: str) -> bool:
    return room == other or FLOORS.get(other, 99) < FLOORS[room] or (room, other) in NEIGHBOURS


def test_no_circle_of_files() -> None:
    assert not circle({name: files_imported(name) for name in sources() if "/" in name})


def circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """The nodes of one circle, none where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as err:
        return list(err.args[1])
    return []


def test_the_checks_of_direction_see_what_they_forbid() -> None:
    assert not is_allowed("store", "capture")
    assert not is_allowed("capture", "analysis")
    assert not is_allowed("demo", "cli")
    assert not is_allowed("core", "a folder without a floor")
    assert circle({"a": ["b"], "b": ["c"], "c": ["a"]})


def test_mathematics_imports_no_files_and_no_lightning() -> None:
    assert not {name for name in sources() if room_of(name) in MATHEMATICS and packages_imported(name) & FILE_FORMATS}


def test_lightning_is_imported_by_the_demo_only() -> None:
    """Elsewhere it is found by `namespaces`, as one of its two packages may be missing."""
    importers = {name for name in sources() if {"lightning", "pytorch_lightning"} & packages_imported(name)}
    assert {room_of(name) for name in importers} == {"demo"}


def test_wandb_is_imported_by_the_named_files_only_and_lazily() -> None:
    assert {name for name in sources() if "wandb" in packages_imported(name)} <= WANDB
    assert not [name for name in sources() if "wandb" in packages_imported(name, lazy=False)]


def test_commands_print_through_a_console_whose_texts_are_inert() -> None:
    assert {name for name, tree in sources().items() if "rich.console.Console" in imports(tree)} <= CONSOLES


def test_files_begin_with_licence_and_docstring() -> None:
    licence = "# SPDX-License-Identifier: Apache-2.0\n"
    assert not [name for name in sources() if not (PACKAGE / name).read_text(encoding="utf-8").startswith(licence)]
    assert not [name for name, tree in sources().items() if not ast.get_docstring(tree)]


def test_files_and_functions_fit_their_limits() -> None:
    lengths = {name: (PACKAGE / name).read_text(encoding="utf-8").count("\n") for name in sources()}
    assert not {name: length for name, length in lengths.items() if length > LONGEST_FILE}
    functions = [
        (name, node.name, (node.end_lineno or 0) - node.lineno + 1)
        for name, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert not [(name, function) for name, function, length in functions if length > LONGEST_FUNCTION]


def test_every_public_name_imports() -> None:
    for name in sources():
        if name.endswith("__init__.py"):
            module = importlib.import_module(f"{PACKAGE.name}/{name}".removesuffix("/__init__.py").replace("/", "."))
            missing = [each for each in getattr(module, "__all__", ()) if "." in each or not hasattr(module, each)]
            assert not missing, f"{name}: {missing}"


@pytest.mark.parametrize("taken", ["tests", "benchmarks"])
def test_nothing_outside_the_package_is_imported_by_it(taken: str) -> None:
    assert not [name for name in sources() if taken in packages_imported(name)]
