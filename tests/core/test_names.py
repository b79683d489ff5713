# SPDX-License-Identifier: Apache-2.0
import pytest

from lightning_interp.core.names import split_call, strip_wrappers


@pytest.mark.parametrize(
    ("name", "stripped"),
    [
        ("_orig_mod.net.0.weight", "net.0.weight"),
        ("module.net.weight", "net.weight"),
        ("module._orig_mod.net.weight", "net.weight"),
        ("net._orig_mod.weight", "net.weight"),
        ("net._orig_mod", "net"),
        ("_orig_mod", ""),
        ("net.module.weight", "net.module.weight"),
        ("my_orig.weight", "my_orig.weight"),
    ],
)
def test_strip_wrappers_removes_prefixes_of_compile_and_ddp(name, stripped):
    assert strip_wrappers(name) == stripped


@pytest.mark.parametrize(
    ("layer", "parts"), [("act", ("act", 0)), ("act#2", ("act", 2)), ("a#b", ("a#b", 0)), ("a#1#2", ("a#1", 2))]
)
def test_split_call_takes_the_number_after_the_last_mark(layer, parts):
    assert split_call(layer) == parts
