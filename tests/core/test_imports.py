# SPDX-License-Identifier: Apache-2.0
import pytest

from lightning_interp.errors import ConfigError
from lightning_interp.imports import import_object


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
