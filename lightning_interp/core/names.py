# SPDX-License-Identifier: Apache-2.0
"""Names of parameters and layers as users write them, whatever wraps the module."""


def strip_wrappers(name: str) -> str:
    """Name of a module or parameter without the prefixes that compile and DDP wrappers add.

    >>> strip_wrappers("module.encoder._orig_mod.weight")
    'encoder.weight'
    """
    name = name.replace("_orig_mod.", "").removeprefix("module.")
    return name.removesuffix("._orig_mod") if name != "_orig_mod" else ""


def split_call(layer: str) -> tuple[str, int]:
    """Module name and zero-based call number of a layer name.

    >>> split_call("act#1")  # the second call of `act` in one forward
    ('act', 1)
    >>> split_call("act")
    ('act', 0)
    """
    name, mark, call = layer.rpartition("#")
    return (name, int(call)) if mark and call.isdigit() else (layer, 0)
