# SPDX-License-Identifier: Apache-2.0
"""Files that each hold what one rank had: pieces of a checkpoint, never measured as the whole of it."""

import re
from collections import defaultdict
from collections.abc import Iterable

from lightning_interp.sources.checkpoints.format import Place, Refused

_DCP = (
    "a checkpoint spread over ranks (torch.distributed.checkpoint, FSDP), which is not read. Merge it first: "
    "`python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER merged.pt` "
    "(of Accelerate: `accelerate merge-weights FOLDER OUT`), and give the result"
)
_DEEPSPEED = (
    "a checkpoint spread over ranks (DeepSpeed, ZeRO), which is not read. Merge it first: "
    "`python zero_to_fp32.py FOLDER OUT` (the script DeepSpeed puts beside it; of Lightning: "
    "lightning.pytorch.utilities.deepspeed.convert_zero_checkpoint_to_fp32_state_dict), and give the result"
)
_MEGATRON = (
    "a checkpoint spread over ranks (mp_rank_NN, Megatron), which is not read: each holds a part of every matrix. Merge it "
    "first with Megatron's tools/checkpoint/convert.py (or the converter of your model to the Hugging Face format), "
    "and give the result"
)
_RANKS = (
    "pieces of ranks, which are not read as a whole. Merge them with the program that wrote them "
    "(under FSDP save with StateDictType.FULL_STATE_DICT; Llama's consolidated.NN.pth: transformers' "
    "convert_llama_weights_to_hf.py), and give the result"
)

_DEEPSPEED_FILE = re.compile(r"zero_pp_rank_\d+|_(model|optim)_states\.pt$|^layer_\d+-model_\d+-model_states")
_MEGATRON_NAME = re.compile(r"^mp_rank_\d+")
_FSDP_FOLDER = re.compile(r"_fsdp_\d+$")
_NUMBERED = re.compile(r"(?:(?<![A-Za-z])|(?<=model))(rank|shard|local_rank|tp_?rank|pp_?rank)s?[-_=.]?(\d+)", re.IGNORECASE)
_CONSOLIDATED = re.compile(r"^(consolidated)\.(\d\d+)\.pth$")


def rank_pieces(place: Place, suffixes: tuple[str, ...]) -> tuple[list[Refused], set[str]]:
    """What of a folder are pieces of ranks.

    Args:
        place: The folder.
        suffixes: Endings of the names of checkpoint files.

    Returns:
        One refusal for each checkpoint in pieces, and the names in the folder that are done with.
    """
    names = place.names or frozenset()
    if ".metadata" in names or any(name.endswith(".distcp") for name in names):
        return [place.refused(_DCP)], set(names)
    found: list[Refused] = []
    done: set[str] = set()
    whole = _whole_model(names)
    if whole:  # beside it are pieces of the optimizer's state alone
        done = {name for name in names if _DEEPSPEED_FILE.search(name)} - {whole}
        names -= {whole}
    for form, text in ((_DEEPSPEED_FILE, _DEEPSPEED), (_MEGATRON_NAME, _MEGATRON)):
        pieces = {name for name in names - done if form.search(name)}
        if pieces:
            found.append(place.refused(text))
            done |= pieces
    stepped = {name for name in names if name.startswith("global_step")} if "latest" in names else set()
    for name in sorted(stepped | {name for name in names if _FSDP_FOLDER.search(name)}):
        if place.files.is_folder(below := f"{place.path}/{name}"):
            found.append(place.refused(_DEEPSPEED if name in stepped else _DCP, below))
            done.add(name)
    for shared, pieces in _numbered(names - done).items():
        files = {name for name in pieces if name.endswith(suffixes)}
        folders = {name for name in pieces - files if place.files.is_folder(f"{place.path}/{name}")}
        if files or any(_holds(place, name, suffixes) for name in folders):
            found.append(place.refused(_RANKS, f"{place.path}/{shared}" if files else None))
            done |= files | folders
    return found, done


def _whole_model(names: Iterable[str]) -> str:
    """The one file of DeepSpeed that holds the whole model, as ZeRO 1 and 2 write it; empty if there is none."""
    models = [name for name in names if name.endswith("_model_states.pt")]
    return models[0] if len(models) == 1 and re.match(r"(?:bf16_|fp16_)?mp_rank_00_model_states\.pt$", models[0]) else ""


def is_piece(name: str) -> bool:
    """Whether the name of a file or folder alone says that it is what one rank had."""
    return bool(_MEGATRON_NAME.search(name) or _DEEPSPEED_FILE.search(name) or _FSDP_FOLDER.search(name))


def _numbered(names: Iterable[str]) -> dict[str, set[str]]:
    """Names that differ only in a number of a rank, by what they share; `lora_rank8` is a setting and no rank."""
    groups: dict[str, dict[int, str]] = defaultdict(dict)
    words: dict[str, str] = {}
    for name in sorted(names):
        if match := _NUMBERED.search(name) or _CONSOLIDATED.search(name):
            start, end = match.span(2)
            shared = f"{name[:start]}*{name[end:]}"
            groups[shared][int(match.group(2))] = name
            words[shared] = match.group(1).lower()
    return {shared: set(found.values()) for shared, found in groups.items() if _are_ranks(words[shared], sorted(found))}


def _are_ranks(word: str, numbers: list[int]) -> bool:
    in_a_row = len(numbers) > 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    if word == "consolidated":  # of one alone nothing is missing
        return len(numbers) > 1
    return word == "shard" or numbers[0] == 0 or in_a_row


def _holds(place: Place, folder: str, suffixes: tuple[str, ...]) -> bool:
    return any(name.endswith(suffixes) for name in place.files.names(f"{place.path}/{folder}"))
