# SPDX-License-Identifier: Apache-2.0
"""Tensors a module holds outside its state_dict: snapshots do not follow them, so changes to them are told."""

from collections.abc import Mapping

from torch import Tensor, nn

Marks = Mapping[str, tuple[int, int]]
"""By name, what tells whether a tensor was replaced (its address) or written to (its version)."""


def mark_plain_tensors(module: nn.Module) -> Marks:
    """Marks of every tensor held as a plain attribute; no value is read."""
    return {
        f"{path}.{name}".lstrip("."): (value.data_ptr(), value._version)
        for path, child in module.named_modules()
        for name, value in vars(child).items()
        if isinstance(value, Tensor)
    }


def changed_since(before: Marks, module: nn.Module) -> list[str]:
    """Names of the marked tensors that were replaced or written to."""
    after = mark_plain_tensors(module)
    return sorted(name for name in before if after.get(name) != before[name])
