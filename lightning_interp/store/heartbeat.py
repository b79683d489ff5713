# SPDX-License-Identifier: Apache-2.0
"""heartbeat.json: that the analyzer process lives, also while it is idle or inside a long observation.

A file of its own, so that the thread that writes it and the one that observes never write the same file.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from lightning_interp.core.errors import RunError
from lightning_interp.core.typed_values import fields_of, misfit
from lightning_interp.store.bounded_file import read_object
from lightning_interp.store.layout import HEARTBEAT, replace_text


@dataclass(frozen=True)
class Heartbeat:
    """A sign of life of an analyzer process.

    Attributes:
        pid: Its process id on its host.
        host: Name of the machine it runs on.
        start_id: Which start of an analyzer it is, as in analysis.json.
        at: When it was alive, in seconds since 1970.
    """

    pid: int
    host: str
    start_id: str
    at: float


def read_heartbeat(run_dir: Path) -> Heartbeat | None:
    """Latest sign of life, or None if there is none that can be read."""
    kinds = fields_of(Heartbeat)
    try:
        content = read_object(run_dir / HEARTBEAT)
    except RunError:
        return None
    if content is None or not kinds.keys() <= content.keys() or misfit(content, kinds) or not math.isfinite(content["at"]):
        return None
    return Heartbeat(content["pid"], content["host"], content["start_id"], float(content["at"]))


def write_heartbeat(run_dir: Path, beat: Heartbeat) -> None:
    """Replace the sign of life; an OSError is the caller's business."""
    replace_text(run_dir / HEARTBEAT, json.dumps(asdict(beat)))
