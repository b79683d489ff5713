# SPDX-License-Identifier: Apache-2.0
"""What several checkpoints say together: files of more than one network, copies without a step, adapters."""

import os
from collections import defaultdict
from collections.abc import Sequence

from lightning_interp.core.errors import CheckpointError
from lightning_interp.sources.checkpoints.finding import Finding
from lightning_interp.sources.checkpoints.format import Found, Header
from lightning_interp.sources.checkpoints.integrity import Inspected
from lightning_interp.sources.checkpoints.step_names import families


def refuse_several_networks(inspected: Sequence[Inspected]) -> None:
    """Refuse files of several networks, such as G_10.pt and D_10.pt, which lie at the same steps under other names.

    Raises:
        CheckpointError: With the name of each network's files.
    """
    groups: dict[str, dict[int, Inspected]] = defaultdict(dict)
    for each in inspected:
        if each.found.named_step is not None or each.found.named_epoch is not None:
            groups[families(each.found.where)][each.step] = each
    several = [name for name, files in groups.items() if any(_clash(files, other) for other in groups.values())]
    if several:
        names = ", ".join(sorted(name.replace("#", "*") for name in several)[:6])
        raise CheckpointError(f"files of {len(several)} networks at the same steps: {names}. Give those of one of them.")


def original_of(found: Found, header: Header, others: Sequence[Inspected]) -> str:
    """The checkpoint that one without a step is a copy of or a link to; empty if there is none."""
    known = {mark: each.found.where for each in others for mark in _marks(each.found, each.header)}
    return next((known[mark] for mark in _marks(found, header) if mark in known), "")


def adapters(inspected: Sequence[Inspected]) -> list[Finding]:
    """A word on checkpoints that hold an adapter and not the model it belongs to; once for all."""
    found = [each for each in inspected if _is_adapter(each)]
    if not found:
        return []
    more = f" and {len(found) - 1} more" if found[1:] else ""
    text = "an adapter (PEFT, LoRA): its own weights alone are measured, not those of the model it was trained on"
    return [Finding(f"{found[0].found.where}{more}", None, "adapter", text, left_out=False)]


def _is_adapter(each: Inspected) -> bool:
    by_name = any(file.rpartition("/")[2].startswith("adapter_model") for file in each.found.files)
    names = each.header.shapes
    return by_name or (bool(names) and all("lora_" in name for name in names))


def _clash(files: dict[int, Inspected], others: dict[int, Inspected]) -> bool:
    """Whether two lines of files share steps, and the tensors at these have other names or shapes."""
    shared = files.keys() & others.keys()
    if files is others or not shared or 2 * len(shared) < min(len(files), len(others)):
        return False
    return all(files[step].header.shapes != others[step].header.shapes for step in shared)


def _marks(found: Found, header: Header) -> list[object]:
    """What a checkpoint shares with its copies: the checksums in it, and the files that links to it lead to."""
    local = tuple(os.path.realpath(file) for file in found.files if "://" not in file)
    return [mark for mark in (header.content, local) if mark]
