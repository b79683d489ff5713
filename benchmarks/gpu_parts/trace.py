# SPDX-License-Identifier: Apache-2.0
"""Counting, in a profiler's trace, the calls inside one range of one thread that wait for the GPU.

A Chrome trace is used because there a range of `record_function` and the calls of the CUDA runtime lie on the same thread
row; event by event, `torch.profiler` numbers the threads of the two differently.
"""

import gzip
import json
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Event = Mapping[str, Any]
"""An entry of ``traceEvents``: name, cat, ph, pid, tid, ts and dur in microseconds, args."""

CALLS = frozenset({"cuda_runtime", "cuda_driver"})
_NAME = re.compile(r"(cuda|cu[A-Z])\w*?(?=_v\d+|_ptsz|_ptds|$)")
_WAITS = re.compile(
    r"cuda(Stream|Device|Event|Thread)Synchronize|cu(Stream|Ctx|Event)Synchronize|cudaMemcpy(2D|3D|ToSymbol|FromSymbol)?"
    r"|cuMemcpy(HtoD|DtoH|DtoD)?|cudaFree(Host|Array)?|cuMem(Free|FreeHost)"
)
"""Calls that return only when the GPU has done something. Giving memory back waits for all of it, so it counts, too."""


@dataclass(frozen=True)
class Range:
    """From when to when, and on which thread, in the trace's microseconds."""

    thread: tuple[Any, Any]
    start: float
    end: float


def read_trace(path: Path) -> list[Event]:
    """Events of a Chrome trace, packed or not."""
    packed = path.suffix == ".gz"
    text = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    events: list[Event] = json.loads(text)["traceEvents"]
    return events


def call_name(event: Event) -> str:
    """Name of a call without the suffixes that versions of CUDA give it.

    >>> call_name({"name": "cudaStreamSynchronize_v3020"})
    'cudaStreamSynchronize'
    """
    found = _NAME.match(str(event.get("name", "")))
    return found.group() if found else str(event.get("name", ""))


def waits(event: Event) -> bool:
    """Whether an event is a call that waits for the GPU."""
    return event.get("cat") in CALLS and _WAITS.fullmatch(call_name(event)) is not None


def ranges(events: Iterable[Event], name: str) -> list[Range]:
    """The ranges of `record_function(name)`, in the order of their start."""
    found = [
        Range((event["pid"], event["tid"]), float(event["ts"]), float(event["ts"]) + float(event.get("dur", 0)))
        for event in events
        if event.get("ph") == "X" and event.get("cat") == "user_annotation" and event.get("name") == name
    ]
    return sorted(found, key=lambda span: span.start)


def calls_inside(events: Sequence[Event], name: str) -> list[Event]:
    """Calls of the CUDA runtime and driver that begin within a range of this name, on its thread."""
    by_thread: dict[tuple[Any, Any], list[Range]] = {}
    for span in ranges(events, name):
        by_thread.setdefault(span.thread, []).append(span)
    found = []
    for event in events:
        spans = by_thread.get((event.get("pid"), event.get("tid")), []) if event.get("cat") in CALLS else []
        place = bisect_right([span.start for span in spans], float(event.get("ts", 0))) - 1
        if place >= 0 and float(event["ts"]) <= spans[place].end:
            found.append(event)
    return found


def waits_inside(events: Sequence[Event], name: str) -> Counter[str]:
    """How often each call that waits was made within the ranges of this name."""
    return Counter(call_name(event) for event in calls_inside(events, name) if waits(event))


def waits_of_thread(events: Sequence[Event], name: str) -> int:
    """Calls that wait on the thread of these ranges, inside of them or not."""
    threads = {span.thread for span in ranges(events, name)}
    return sum(waits(event) and (event.get("pid"), event.get("tid")) in threads for event in events)


def pageable_copies_inside(events: Sequence[Event], name: str) -> int:
    """Copies queued within the ranges from or to memory that is not pinned: those wait without saying so."""
    own = {event.get("args", {}).get("correlation") for event in calls_inside(events, name)} - {None}
    return sum(
        event.get("cat") == "gpu_memcpy"
        and "Pageable" in str(event.get("name", ""))
        and event.get("args", {}).get("correlation") in own
        for event in events
    )
