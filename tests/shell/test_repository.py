# SPDX-License-Identifier: Apache-2.0
"""The shape of the repository: directions of import, sizes, public names, and a README that tells the truth."""

import ast
import importlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "lightning_interp"
FILES = sorted(PACKAGE.rglob("*.py"))
PACKAGES = sorted(path.parent for path in PACKAGE.rglob("__init__.py"))

FLOORS = {"store": 1, "measures": 1, "tca": 1, "phases": 1, "capture": 2, "analysis": 2, "dashboards": 2}
"""Rooms by floor; files at the top of the package are named in CORE or are shell, as `cli` and `demo` are."""
CORE = {
    "errors",
    "shapes",
    "records",
    "timeline",
    "batches",
    "finite",
    "names",
    "imports",
    "randomness",
    "console",
    "inert_output",
    "recycling",
}
CORE |= {"tca_settings", "child_python", "system_features"}
MATHEMATICS = {"measures", "tca", "phases"}
SHELL_FLOOR = 3

WANDB = {"dashboards/wandb.py", "dashboards/workspace.py"}
FILE_FORMATS = {"safetensors", "lightning", "pytorch_lightning", "wandb", "plotly", "pathlib", "tempfile", "shutil"}
"""What the mathematics has no business with."""

LONGEST_FILE, LONGEST_FUNCTION = 400, 60


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room_of(parts: tuple[str, ...]) -> str:
    """First folder or file of a module inside the package: `store`, `errors`, `callback`; empty for the package."""
    return parts[0].removesuffix(".py") if parts else ""


def floor_of(room: str) -> int:
    return 0 if room in CORE else FLOORS.get(room, SHELL_FLOOR)


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


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def rooms_imported(path: Path) -> set[str]:
    own = (name.split(".")[1:] for name in imports(parsed(path)) if name.split(".")[0] == PACKAGE.name)
    return {room_of(tuple(parts)) for parts in own}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_down(path: Path) -> None:
    own = room_of(path.relative_to(PACKAGE).parts)
    if own == "__init__":
        return
    for room in rooms_imported(path) - {own}:
        within_one_floor = (own in CORE and room in CORE) or floor_of(own) == SHELL_FLOOR == floor_of(room)
        assert floor_of(room) < floor_of(own) or within_one_floor, f"{name_of(path)} imports {room}"


@pytest.mark.parametrize("path", [path for path in FILES if name_of(path).split("/")[0] in MATHEMATICS], ids=name_of)
def test_mathematics_imports_no_files_and_no_lightning(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(parsed(path))} & FILE_FORMATS


def test_lightning_is_imported_by_the_demo_only() -> None:
    """Elsewhere it is found by `namespaces`, as one of its two packages may be missing."""
    importers = {name_of(path) for path in FILES if {"lightning", "pytorch_lightning"} & top_names(path)}
    assert not {name for name in importers if not name.startswith("demo/")}


def test_wandb_is_imported_by_the_named_files_only_and_lazily() -> None:
    assert {name_of(path) for path in FILES if "wandb" in top_names(path)} <= WANDB
    assert not [name_of(path) for path in FILES if "wandb" in top_names(path, lazy=False)]


def top_names(path: Path, *, lazy: bool = True) -> set[str]:
    return {name.split(".")[0] for name in imports(parsed(path), lazy=lazy)}


def test_commands_print_through_a_console_whose_texts_are_inert() -> None:
    importers = {name_of(path) for path in FILES if "rich.console.Console" in imports(parsed(path))}
    assert importers <= {"cli/terminal.py", "demo/progress.py", "demo/run.py"}  # the demo's own is given to it


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_file_begins_with_licence_and_docstring(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if text.strip():
        assert text.startswith("# SPDX-License-Identifier: Apache-2.0\n")
        assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_file_and_functions_fit_their_limits(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE
    functions = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    too_long = [node.name for node in functions if (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION]
    assert not too_long


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: folder.relative_to(REPOSITORY).as_posix())
def test_every_public_name_imports(folder: Path) -> None:
    module = importlib.import_module(folder.relative_to(REPOSITORY).as_posix().replace("/", "."))
    names = getattr(module, "__all__", ())
    assert not [name for name in names if "." in name or not hasattr(module, name)]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/index.md", "docs/guide.md"])
def test_make_commands_in_the_documents_exist(name: str) -> None:
    used = set(
        re.findall(r"\bmake ([a-z]+)\b(?=`|\s*(?:#|$))", (REPOSITORY / name).read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert used <= make_targets()


def test_readme_names_the_two_commands() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "make demo" in text
    assert "make test" in text


def test_continuous_integration_runs_make_test() -> None:
    script = REPOSITORY / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text(encoding="utf-8")


def test_make_help_lists_every_documented_target() -> None:
    shown = subprocess.run(["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert all(f"make {target} " in shown for target in make_targets())


def test_torch_is_pinned_without_a_local_version() -> None:
    pins = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8")
    assert re.search(r"^torch==[\d.]+$", pins, flags=re.MULTILINE)


def test_compromised_lightning_releases_are_excluded() -> None:
    requirement = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert "lightning>=2.4,!=2.6.2,!=2.6.3" in requirement
