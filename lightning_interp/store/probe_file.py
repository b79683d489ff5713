# SPDX-License-Identifier: Apache-2.0
"""The probe on disk: every tensor under a flat key, the nesting of each batch as a JSON tree. Nothing is pickled."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_interp.core.batch_types import FindType, python_type
from lightning_interp.core.records import Probe, ProbeSplit
from lightning_interp.store.batch_tree import TreeReader, TreeWriter
from lightning_interp.store.layout import PROBE
from lightning_interp.store.tensor_file import checksum, read_metadata, read_tensors, write_tensors

_COOCCURRENCE = "cooccurrence"


def write_probe(run_dir: Path, probe: Probe) -> str:
    """Commit `probe.safetensors`; returns a hash of its content.

    Raises:
        ProbeError: A batch holds something that is neither tensor, number, text nor a container of these.
    """
    tensors, metadata = flatten_probe(probe)
    write_tensors(run_dir / PROBE, tensors, metadata)
    content = [f"{name}:{checksum(tensor)}" for name, tensor in sorted(tensors.items())]
    return hashlib.sha256("\n".join(content).encode()).hexdigest()[:16]


def read_probe(run_dir: Path, find_type: FindType = python_type) -> Probe | None:
    """The stored probe, or None where the run directory holds none (yet).

    Args:
        run_dir: Run directory.
        find_type: Gives the classes of batches by name where they are at hand. In place of other batches that are no plain
            lists, tuples and dicts stands a mapping with the same entries, which are its attributes, too.
    """
    path = run_dir / PROBE
    if not path.exists():
        return None
    content = read_tensors(path)
    reader = TreeReader(content.tensors, find_type)
    splits = {name: _split(entry, reader) for name, entry in content.metadata["splits"].items()}
    loaders = {name.partition("/")[2]: split for name, split in splits.items() if "/" in name}
    return Probe(splits["train"], splits.get("heldout"), content.tensors.get(_COOCCURRENCE), loaders)


def batch_types(run_dir: Path) -> set[str]:
    """Names of the classes of batches that the stored probe mentions; no tensor is read."""
    path = run_dir / PROBE
    splits = read_metadata(path).get("splits", {}) if path.exists() else {}
    return {name for split in splits.values() for tree in split["trees"] for name in _names(tree)}


def _names(node: Any) -> Iterator[str]:
    """Names in what JSON holds, however deep."""
    if isinstance(node, dict):
        if isinstance(of := node.get("of"), dict):
            yield of["type"]
        node = list(node.values())
    if isinstance(node, list):
        for inner in node:
            yield from _names(inner)


def _split(entry: Mapping[str, Any], reader: TreeReader) -> ProbeSplit:
    batches = tuple(reader.read(tree) for tree in entry["trees"])
    return ProbeSplit(batches, tuple(entry["indices"]), entry.get("loader", 0))


def flatten_probe(probe: Probe) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by flat key ``train/0/<path>`` and the metadata that rebuilds the batches."""
    tensors: dict[str, Tensor] = {}
    writer = TreeWriter(tensors)
    splits: dict[str, Any] = {}
    for name in probe.parts:
        split = probe.split(name)
        assert split is not None, "it is one of the probe's parts"
        trees = [writer.write(batch, f"{name}/{number}") for number, batch in enumerate(split.batches)]
        splits[name] = {"trees": trees, "indices": list(split.indices)} | ({"loader": split.loader} if split.loader else {})
    if probe.cooccurrence is not None:
        tensors[_COOCCURRENCE] = probe.cooccurrence
    return tensors, {"splits": splits}
