# SPDX-License-Identifier: Apache-2.0
"""Files and folders that each hold what one rank of a parallel training had: never measured as the whole."""

import re
from collections.abc import Iterable, Set

DCP = "torch.distributed.checkpoint"
_DCP_TOOL = "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER model.pt"
_MERGE = {
    DCP: f"Merge it with `{_DCP_TOOL}` and give the result",
    "DeepSpeed": "Merge it with the zero_to_fp32.py beside it (`python zero_to_fp32.py FOLDER model.pt`), and give that",
    "ranks": "Merge the ranks with the tool of the framework that wrote them, and give the result",
}
_OPTIMIZER = re.compile(r"optim_states\.pt$")
_ZERO_MODEL = re.compile(r"^(?:bf16_|fp16_)?zero_pp_rank_\d+_mp_rank_\d+_model_states\.pt$")
_LAYER = re.compile(r"^layer_\d+-model_\d+-model_states\.pt$")
_DISTCP = re.compile(r"\.distcp$")
_RANK = re.compile(
    r"(?<![a-zA-Z])(?:mp_rank|tp_rank|pp_rank|model_parallel_rank|world_rank|rank|consolidated|fsdp|mp|tp|shard)"
    r"([-_.=]?\d+)(?=$|[-_.])(?:_of_\d+|-of-\d+)?",
    re.IGNORECASE,
)


def spread_over_ranks(names: Set[str]) -> str | None:
    """Why a folder with some names is no checkpoint that can be read, and the way out; None if nothing says so."""
    if ".metadata" in names or any(_DISTCP.search(name) for name in names):
        return _told(DCP, "a checkpoint spread over ranks (DCP)")
    if any(_ZERO_MODEL.match(name) for name in names):
        return _told("DeepSpeed", "pieces of a DeepSpeed ZeRO checkpoint, the weights spread over ranks")
    if any(_LAYER.match(name) for name in names):
        return _told("DeepSpeed", "layers of a DeepSpeed pipeline, one file each")
    if "latest" in names and any(name.startswith("global_step") for name in names):
        return _told("DeepSpeed", "a checkpoint spread over ranks (DeepSpeed)")
    ranks = {match[1].lstrip("-_.=") for name in names if (match := _RANK.search(name)) and not _OPTIMIZER.search(name)}
    stems = {_RANK.sub("", name) for name in names if _RANK.search(name) and not _OPTIMIZER.search(name)}
    if len(ranks) > 1 and len(stems) < len(ranks) * max(1, len(stems)) and _each_stem_has_all(names, stems, len(ranks)):
        return _told("ranks", f"{len(ranks)} pieces, each what one rank had ({_shown(names)})")
    return None


def is_optimizer_piece(name: str) -> bool:
    """Whether a file of DeepSpeed holds a piece of the optimizer's state."""
    return bool(_OPTIMIZER.search(name))


def _each_stem_has_all(names: Iterable[str], stems: Set[str], count: int) -> bool:
    found = [sum(_RANK.sub("", name) == stem and bool(_RANK.search(name)) for name in names) for stem in stems]
    return any(each == count for each in found)


def _shown(names: Iterable[str]) -> str:
    found = sorted(name for name in names if _RANK.search(name))
    return ", ".join(found[:2]) + (", …" if len(found) > 2 else "")


def _told(kind: str, what: str) -> str:
    return f"{what}, which is not read. {_MERGE[kind]}"
