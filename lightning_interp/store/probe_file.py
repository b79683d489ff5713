# SPDX-License-Identifier: Apache-2.0
"""The probe on disk: every tensor under a flat key, the nesting of each batch as a JSON tree. Nothing is pickled."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_interp.core.errors import ProbeError
from lightning_interp.core.records import Batch, Probe, ProbeSplit
from lightning_interp.store.layout import PROBE
from lightning_interp.store.tensor_file import checksum, read_tensors, write_tensors

_COOCCURRENCE = "cooccurrence"
_PLAIN = (str, int, float, bool, type(None))


def write_probe(run_dir: Path, probe: Probe) -> str:
    """Commit `probe.safetensors`; returns a hash of its content.

    Raises:
        ProbeError: A batch holds something that is neither tensor, number, text nor a list, tuple or dict of these.
    """
    tensors, metadata = flatten_probe(probe)
    write_tensors(run_dir / PROBE, tensors, metadata)
    content = [f"{name}:{checksum(tensor)}" for name, tensor in sorted(tensors.items())]
    return hashlib.sha256("\n".join(content).encode()).hexdigest()[:16]


def read_probe(run_dir: Path) -> Probe | None:
    """The stored probe, or None where the run directory holds none (yet)."""
    path = run_dir / PROBE
    if not path.exists():
        return None
    content = read_tensors(path)
    splits = {name: _split(entry, content.tensors) for name, entry in content.metadata["splits"].items()}
    loaders = {name.partition("/")[2]: split for name, split in splits.items() if "/" in name}
    return Probe(splits["train"], splits.get("heldout"), content.tensors.get(_COOCCURRENCE), loaders)


def _split(entry: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ProbeSplit:
    batches = tuple(_rebuild(tree, tensors) for tree in entry["trees"])
    return ProbeSplit(batches, tuple(entry["indices"]), entry.get("loader", 0))


def flatten_probe(probe: Probe) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by flat key ``train/0/<path>`` and the metadata that rebuilds the batches."""
    tensors: dict[str, Tensor] = {}
    splits: dict[str, Any] = {}
    for name in probe.parts:
        split = probe.split(name)
        assert split is not None, "it is one of the probe's parts"
        trees = [_flatten(batch, f"{name}/{number}", tensors) for number, batch in enumerate(split.batches)]
        splits[name] = {"trees": trees, "indices": list(split.indices)} | ({"loader": split.loader} if split.loader else {})
    if probe.cooccurrence is not None:
        tensors[_COOCCURRENCE] = probe.cooccurrence
    return tensors, {"splits": splits}


def _flatten(value: Batch, path: str, tensors: dict[str, Tensor]) -> Any:
    """JSON tree of a batch; its tensors are added to `tensors` under their path."""
    if isinstance(value, Tensor):
        path = path if path not in tensors else f"{path}#{len(tensors)}"  # keys "a/b" and "a" -> "b" give one path
        # A private copy: two entries of a batch may be views of one storage, which safetensors refuses.
        tensors[path] = value.detach().cpu().clone()
        return {"tensor": path}
    if isinstance(value, Mapping):
        return {"dict": [[_plain(key, path), _flatten(item, f"{path}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_flatten(item, f"{path}/{index}", tensors) for index, item in enumerate(value)]}
    return {"value": _plain(value, path)}


def _plain(value: Any, path: str) -> Any:
    if isinstance(value, _PLAIN):
        return value
    raise ProbeError(
        f"probe: {path} is a {type(value).__name__}, which cannot be written without pickling. "
        "Use save_probe=False to keep the probe in memory, or a collate_fn that gives tensors."
    )


def _rebuild(tree: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Batch:
    (kind, content), *_ = tree.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _rebuild(item, tensors) for key, item in content}
    if kind == "value":
        return content
    items = [_rebuild(item, tensors) for item in content]
    return items if kind == "list" else tuple(items)
