# SPDX-License-Identifier: Apache-2.0
import json.decoder

import pytest

from lightning_interp.core.namespaces import installed


def test_installed_leaves_out_a_module_whose_package_is_missing():
    assert installed(("no_such_package.part", "json.no_such_part", "json.decoder")) == [json.decoder]


def test_installed_says_what_to_install_where_there_is_none():
    with pytest.raises(
        ModuleNotFoundError, match=r"neither no_such_package\.part nor no_such is installed. Run `pip install"
    ):
        installed(("no_such_package.part", "no_such"))
