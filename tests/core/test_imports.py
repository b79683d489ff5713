# SPDX-License-Identifier: Apache-2.0
import sys

import pytest

from lightning_interp.core.errors import ConfigError
from lightning_interp.core.imports import also_from, folders_needed, import_object, is_found, where_it_is


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A user's folder with a module that imports its neighbour, and one with the name of an installed package."""
    (tmp_path / "only_here.py").write_text(
        "import sys\nimport beside_it\nPATH = list(sys.path)\n\n\ndef late():\n    import later_on\n"
    )
    for name in ("beside_it", "later_on", "colorsys"):
        (tmp_path / f"{name}.py").write_text("build = 1\n")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_import_object_searches_an_offered_folder_last_and_only_for_the_import(folder):
    before = list(sys.path)
    with also_from([folder]):
        path = import_object("only_here:PATH", argument="module")
    assert path == [*before, str(folder)]
    assert sys.path == before
    assert folders_needed()[-1] == str(folder)


def test_import_object_does_not_search_a_folder_that_was_not_offered(folder):
    with pytest.raises(ConfigError, match="cannot import 'only_here'"):
        import_object("only_here:PATH", argument="module")


def test_import_object_takes_the_installed_one_and_says_where_the_other_is(folder):
    with also_from([folder]), pytest.raises(ConfigError, match=f"comes after it: rename yours, or set PYTHONPATH={folder}"):
        import_object("colorsys:build", argument="module")


def test_is_found_counts_offered_folders_and_runs_nothing(folder):
    with also_from([folder]):
        assert is_found("only_here")
    assert not is_found("only_here")
    assert "only_here" not in sys.modules


def test_import_object_prefers_a_package_of_the_folder_to_a_leftover_of_its_name(folder, tmp_path_factory, monkeypatch):
    leftover = tmp_path_factory.mktemp("site")
    (leftover / "project_of_mine" / "__pycache__").mkdir(parents=True)
    monkeypatch.syspath_prepend(leftover)
    (folder / "project_of_mine").mkdir()
    for name in ("__init__", "model"):
        (folder / "project_of_mine" / f"{name}.py").write_text("build = 1\n")
    with also_from([folder]):
        assert import_object("project_of_mine.model:build", argument="module") == 1


def test_where_it_is_tells_what_to_do_about_an_import_inside_a_function(folder):
    with also_from([folder]):
        late = import_object("only_here:late", argument="module")
        with pytest.raises(ModuleNotFoundError) as caught:
            late()
        assert f"'later_on' lies in {folder}" in where_it_is(caught.value)
        assert where_it_is(ValueError()) == ""


def test_import_object_finds_names_inside_classes():
    assert import_object("pathlib:Path.cwd", argument="module")


@pytest.mark.parametrize("path", ["math", ":pi", "math:", ""])
def test_import_object_says_the_form_it_expects(path):
    with pytest.raises(ConfigError, match=r"probe: expected 'pkg.mod:name'"):
        import_object(path, argument="probe")


def test_import_object_names_a_module_that_is_not_there():
    with pytest.raises(ConfigError, match=r"module: cannot import 'no_such_pkg'.*Run from the folder that holds it"):
        import_object("no_such_pkg:build", argument="module")


def test_import_object_names_what_a_module_does_not_have():
    with pytest.raises(ConfigError, match="module: 'math' has no 'tau2'"):
        import_object("math:tau2", argument="module")
