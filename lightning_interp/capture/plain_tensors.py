# SPDX-License-Identifier: Apache-2.0
"""Tensors a module holds outside its state_dict: snapshots do not follow them, so changes to them are told."""

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

Marks = Mapping[str, tuple[int, int]]
"""By name, what tells whether a tensor was replaced (its address) or written to (its version)."""


def mark_plain_tensors(module: nn.Module) -> Marks:
    """Marks of every tensor held as a plain attribute or as a buffer that is not persistent; no value is read.

    Metrics, which change by design, are left out.
    """
    return {
        # Tensors made in inference mode keep no version; their address still tells replacement.
        f"{path}.{name}".lstrip("."): (value.data_ptr(), 0 if value.is_inference() else value._version)
        for path, child in module.named_modules()
        if not _is_metric(child)
        for name, value in _beside_state_dict(child)
        if isinstance(value, Tensor)
    }


def _beside_state_dict(child: nn.Module) -> Iterator[tuple[str, object]]:
    """What a module holds that is no parameter and no buffer of its state_dict."""
    made_anew = {name.removesuffix("_g") for name in child._parameters if name.endswith("_g")}  # by weight_norm
    made_anew |= {name.removesuffix("_orig") for name in child._parameters if name.endswith("_orig")}  # by spectral_norm
    yield from ((name, value) for name, value in vars(child).items() if name not in made_anew)
    yield from ((name, child._buffers.get(name)) for name in child._non_persistent_buffers_set)


def _is_metric(module: nn.Module) -> bool:
    """By name, so that torchmetrics is not imported."""
    return any(base.__module__.startswith("torchmetrics") for base in type(module).__mro__)


def changed_since(before: Marks, module: nn.Module) -> list[str]:
    """Names of the marked tensors that were replaced or written to."""
    after = mark_plain_tensors(module)
    return sorted(name for name in before if after.get(name) != before[name])
