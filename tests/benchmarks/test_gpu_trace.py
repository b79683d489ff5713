# SPDX-License-Identifier: Apache-2.0
"""What the counter of synchronizations sees in a trace; events as torch's profiler writes them on a machine with a GPU."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile, record_function

HOOK = "interp hook"
MAIN, WRITER = 100, 101


def span(name: str, start: float, end: float, *, thread: int = MAIN) -> dict[str, Any]:
    """A range of `record_function`."""
    return {
        "ph": "X",
        "cat": "user_annotation",
        "name": name,
        "pid": 7,
        "tid": thread,
        "ts": start,
        "dur": end - start,
        "args": {"External id": 3},
    }


def call(name: str, at: float, *, thread: int = MAIN, cat: str = "cuda_runtime", correlation: int = 0) -> dict[str, Any]:
    """A call of the CUDA runtime."""
    args = {"External id": 4, "cbid": 131, "correlation": correlation}
    return {"ph": "X", "cat": cat, "name": name, "pid": 7, "tid": thread, "ts": at, "dur": 2.0, "args": args}


def copy(kind: str, *, correlation: int) -> dict[str, Any]:
    """A copy as the GPU did it, on a stream's row."""
    args = {"stream": 7, "correlation": correlation, "bytes": 400}
    return {"ph": "X", "cat": "gpu_memcpy", "name": kind, "pid": 0, "tid": 7, "ts": 500.0, "dur": 1.0, "args": args}


HOOKS = [span(HOOK, 10, 20), span(HOOK, 30, 40), span("aten::copy_", 12, 14)]
ASYNCHRONOUS = [call("cudaMemcpyAsync", 12), call("cudaLaunchKernel", 13), call("cudaEventRecord", 14)]


def found(*events: dict[str, Any]) -> dict[str, int]:
    from gpu_parts.trace import waits_inside

    return dict(waits_inside([*HOOKS, *ASYNCHRONOUS, *events], HOOK))


def test_waits_inside_finds_none_in_a_hook_that_only_queues() -> None:
    assert found() == {}


@pytest.mark.parametrize(
    "name",
    [
        "cudaStreamSynchronize",
        "cudaDeviceSynchronize",
        "cudaEventSynchronize",
        "cudaMemcpy",
        "cudaFree",
        "cudaStreamSynchronize_v3020",
        "cudaMemcpy_ptds",
    ],
)
def test_waits_inside_counts_a_planted_wait(name: str) -> None:
    assert sum(found(call(name, 35), call(name, 36)).values()) == 2


def test_waits_inside_counts_calls_of_the_driver() -> None:
    assert found(call("cuCtxSynchronize", 35, cat="cuda_driver")) == {"cuCtxSynchronize": 1}


@pytest.mark.parametrize("at", [9.0, 25.0, 40.5])
def test_waits_inside_leaves_out_what_lies_between_hooks(at: float) -> None:
    assert found(call("cudaStreamSynchronize", at)) == {}


def test_waits_inside_leaves_out_the_writer_thread() -> None:
    assert found(call("cudaEventSynchronize", 15, thread=WRITER)) == {}


@pytest.mark.parametrize("name", ["cudaStreamWaitEvent", "cudaEventQuery", "cudaMemcpyAsync", "cudaHostAlloc"])
def test_waits_inside_leaves_out_calls_that_return_at_once(name: str) -> None:
    assert found(call(name, 15)) == {}


def test_waits_of_thread_counts_outside_of_ranges_too() -> None:
    from gpu_parts.trace import waits_of_thread

    events = [
        *HOOKS,
        call("cudaStreamSynchronize", 25),
        call("cudaStreamSynchronize", 15),
        call("cudaFree", 15, thread=WRITER),
    ]
    assert waits_of_thread(events, HOOK) == 2


def test_pageable_copies_inside_are_those_the_hook_queued() -> None:
    from gpu_parts.trace import pageable_copies_inside

    queued = [call("cudaMemcpyAsync", at, correlation=number) for number, at in enumerate((15.0, 16.0, 25.0), start=1)]
    pageable = "Memcpy DtoH (Device -> Pageable)"
    copies = [
        copy(pageable, correlation=1),
        copy("Memcpy DtoH (Device -> Pinned)", correlation=2),
        copy(pageable, correlation=3),
    ]
    assert pageable_copies_inside([*HOOKS, *queued, *copies], HOOK) == 1


def test_read_trace_reads_ranges_of_the_profiler(tmp_path: Path) -> None:
    from gpu_parts.trace import ranges, read_trace

    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        for _ in range(3):
            with record_function(HOOK):
                torch.ones(2).add_(1)
    recorded.export_chrome_trace(str(tmp_path / "trace.json.gz"))
    assert len(ranges(read_trace(tmp_path / "trace.json.gz"), HOOK)) == 3


def test_read_trace_reads_one_that_is_not_packed(tmp_path: Path) -> None:
    from gpu_parts.trace import read_trace

    (tmp_path / "trace.json").write_text(json.dumps({"traceEvents": HOOKS}))
    (tmp_path / "trace.json.gz").write_bytes(gzip.compress((tmp_path / "trace.json").read_bytes()))
    assert read_trace(tmp_path / "trace.json") == read_trace(tmp_path / "trace.json.gz") == HOOKS
