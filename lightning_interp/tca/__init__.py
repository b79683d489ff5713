# SPDX-License-Identifier: Apache-2.0
"""Tensor component analysis: CP models of snapshot x stimulus x unit tensors, fast enough to run while a network trains.

The way data takes: `source` (checked data, in chunks) → `compress` (a small core) → `sweeps` (all ranks and restarts at
once) → `full_sweeps` (the last sweeps and the error on the tensor itself) → `selection` (how many components) →
`description`.
"""

from lightning_interp.tca.corcondia import core_consistency as core_consistency
from lightning_interp.tca.cp import CPFit as CPFit
from lightning_interp.tca.decompose import fit_cp as fit_cp
from lightning_interp.tca.decompose import select_rank as select_rank
from lightning_interp.tca.description import ComponentDescription as ComponentDescription
from lightning_interp.tca.description import describe_components as describe_components
from lightning_interp.tca.identity import ComponentChange as ComponentChange
from lightning_interp.tca.null import shuffle_units as shuffle_units
from lightning_interp.tca.online import OnlineTCA as OnlineTCA
from lightning_interp.tca.preprocess import Preprocessed as Preprocessed
from lightning_interp.tca.preprocess import preprocess as preprocess
from lightning_interp.tca.selection import RankSelection as RankSelection
from lightning_interp.tca.similarity import Match as Match
from lightning_interp.tca.similarity import match_components as match_components
from lightning_interp.tca.source import SnapshotSource as SnapshotSource

__all__ = [
    "CPFit",
    "ComponentChange",
    "ComponentDescription",
    "Match",
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
