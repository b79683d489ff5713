# SPDX-License-Identifier: Apache-2.0
"""What training tells the analyzer process through its standard input: framed messages, one direction only.

The pipe comes from the parent process and carries code by design; nothing read from a run directory is ever unpickled.
"""

import json
import os
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import cloudpickle

from lightning_interp.analysis.packed_types import PackedTypes
from lightning_interp.core.errors import ProbeError
from lightning_interp.core.imports import folders_needed
from lightning_interp.core.request import AnalysisRequest

Kind = Literal["quarantine", "start", "batch_types", "probe", "finish"]
HANG_LIMIT_S = 120.0
"""Least seconds after which an observation may count as hanging: beside a training it has a fraction of a core."""
ORPHAN_GRACE_S = 60.0
"""Longest an analyzer outlives its training without having been told to finish."""


@runtime_checkable
class ByteStream(Protocol):
    """Where frames come from: a pipe, a file, or memory."""

    def read(self, size: int = -1, /) -> bytes:
        """So many bytes, fewer at the end."""
        ...

    def readline(self, size: int = -1, /) -> bytes:
        """One line with its end, if it has one."""
        ...


@dataclass(frozen=True)
class Quarantine:
    """What an analyzer died of, left out by the one that takes its place.

    Attributes:
        steps: Why, by step.
        components: Why there are no tensor components; empty where there are.
    """

    steps: Mapping[int, str] = field(default_factory=dict)
    components: str = ""


@dataclass(frozen=True)
class StartOrder:
    """Everything the analyzer cannot read from the run directory.

    Attributes:
        request: What is asked, resolved; its probe only if that is kept out of the run directory.
        packed_module: Module without its weights, or None if it cannot be packed; the request's factory is used then.
        without_replica: Why only weights are measured, empty where a replica is possible.
        training_device: Device the training uses.
        sys_path: Import path of the training process.
        quarantine: What is left out; None, as for an analysis started by hand, tries again what was left out before.
        start_id: Tells the analyzers of this start from those of others.
        least_limit_s: Seconds after which an observation may count as hanging.
        batch_types: Classes of the probe's batches; None for an analysis started by hand.
        orphan_grace_s: Seconds an analyzer may outlive its training without having been told to finish.
    """

    request: AnalysisRequest
    packed_module: bytes | None = None
    without_replica: str = ""
    training_device: str = "cpu"
    sys_path: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))
    quarantine: Quarantine | None = None
    start_id: str = field(default_factory=lambda: os.urandom(8).hex())  # moves no random stream of the training
    least_limit_s: float = HANG_LIMIT_S
    orphan_grace_s: float = ORPHAN_GRACE_S
    batch_types: PackedTypes | None = None


def encode(kind: Kind, content: object = None) -> bytes:
    """One frame: a JSON line with kind and size, then the pickled content.

    Raises:
        ProbeError: The content cannot be pickled.
    """
    try:
        body = cloudpickle.dumps(content, protocol=5) if content is not None else b""
    except Exception as err:
        raise ProbeError(f"cannot be sent to the analyzer ({type(err).__name__}: {err})") from err
    return json.dumps({"kind": kind, "bytes": len(body)}).encode() + b"\n" + body


def encode_start(order: StartOrder) -> bytes:
    """The first frame. The import path goes ahead of everything that may need it to be unpickled."""
    head = {"kind": "start", "sys_path": order.sys_path, "folders": folders_needed()}
    body = encode("start", order)
    return json.dumps(head).encode() + b"\n" + body


def read_frame(stream: ByteStream) -> tuple[dict[str, Any], bytes] | None:
    """Header and body of the next frame; None at the end of the stream, also in the middle of a frame."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    header = json.loads(line)
    body = stream.read(header.get("bytes", 0))
    return (header, body) if len(body) == header.get("bytes", 0) else None


def decode(body: bytes) -> Any:
    """Content of a frame."""
    return pickle.loads(body)  # sent by the parent process over its own pipe
