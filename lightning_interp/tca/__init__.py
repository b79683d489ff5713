# SPDX-License-Identifier: Apache-2.0
"""Tensor component analysis: CP models of snapshot x stimulus x unit tensors, fast enough to run while a network trains.

The way data takes: `source` (checked data, in chunks) → `compress` (a small core) → `sweeps` (all ranks and restarts at
once) → `full_sweeps` (the last sweeps and the error on the tensor itself) → `selection` (how many components) →
`description`.
"""

from lightning_interp.tca.corcondia import core_consistency
from lightning_interp.tca.cp import CPFit
from lightning_interp.tca.decompose import fit_cp, select_rank
from lightning_interp.tca.description import ComponentDescription, describe_components
from lightning_interp.tca.identity import ComponentChange
from lightning_interp.tca.null import shuffle_units
from lightning_interp.tca.online import OnlineTCA
from lightning_interp.tca.preprocess import Preprocessed, preprocess
from lightning_interp.tca.selection import RankSelection
from lightning_interp.tca.similarity import match_components
from lightning_interp.tca.source import SnapshotSource

__all__ = [
    "CPFit",
    "ComponentChange",
    "ComponentDescription",
    "OnlineTCA",
    "Preprocessed",
    "RankSelection",
    "SnapshotSource",
    "core_consistency",
    "describe_components",
    "fit_cp",
    "match_components",
    "preprocess",
    "select_rank",
    "shuffle_units",
]
