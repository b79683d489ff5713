# SPDX-License-Identifier: Apache-2.0
"""Training is bitwise the same with and without the monitor: three precisions, eager and compiled, by `check_neutral`."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed

import torch
from gpu_parts.rows import Row, broken
from gpu_parts.setting import Part, Setting
from gpu_parts.trainings import COMPILER, DEVICE

from lightning_interp.neutrality import NeutralityReport, check_neutral

PRECISIONS = {"float32": "float32", "bf16-mixed": "bfloat16", "16-mixed, with skipped steps": "float16"}
STEPS, REHEARSAL_STEPS = 300, 6
CORES_EACH = 2
"""Cores a training and its analyzer keep busy: so many checks run beside one another. Bits do not depend on it."""
AIM = "0 differing bits"


def matrix(setting: Setting) -> Iterator[Row]:
    """One row for each precision and way of running."""
    os.environ[DEVICE] = setting.device
    cells = {f"{name}, eager": f"{kind}_eager" for name, kind in PRECISIONS.items()}
    if setting.quick:
        cells = {"16-mixed, with skipped steps, eager": "float16_eager"}
    else:
        os.environ[COMPILER], reason = working_compiler(setting.device)
        name = f"compiled ({os.environ[COMPILER]})"
        if reason:
            yield Row("torch.compile with inductor", verdict="not run", note=reason)
        cells |= {f"{precision}, {name}": f"{kind}_compiled" for precision, kind in PRECISIONS.items()}
    steps = REHEARSAL_STEPS if setting.quick else STEPS
    with ThreadPoolExecutor(max(1, min(len(cells), (os.cpu_count() or 1) // CORES_EACH))) as pool:
        running = {pool.submit(_check, factory, steps): cell for cell, factory in cells.items()}
        for done in as_completed(running):
            try:
                yield row_of(running[done], *done.result())
            except Exception as err:  # one cell must not cost the others
                yield broken(running[done], err)


def _check(factory: str, steps: int) -> tuple[NeutralityReport, float]:
    started = time.perf_counter()
    return check_neutral(f"gpu_parts.trainings:{factory}", steps=steps), time.perf_counter() - started


def row_of(cell: str, report: NeutralityReport, seconds: float) -> Row:
    """A report as a row. That nothing can be said (the training itself is not deterministic, nothing was watched) fails."""
    found = report.control if report.verdict == "not_deterministic" else report.differences
    first = [f"{difference.kind} {difference.name} from step {difference.step} on" for difference in found[:3]]
    looked = f"{report.steps} steps, {report.tensors} tensors, {report.random_states} random states, {seconds:.0f} s"
    if report.verdict in ("neutral", "differs"):
        verdict = "held" if report.verdict == "neutral" else "missed"
        return Row(
            cell, len(report.differences), "things that differ", aim=AIM, verdict=verdict, note="; ".join([looked, *first])
        )
    return Row(cell, aim=AIM, verdict="failed", note="; ".join([report.verdict.replace("_", " "), looked, *first]))


def working_compiler(device: str) -> tuple[str, str]:
    """Inductor where it works here, else a backend that needs no compiler, and why."""
    try:
        torch.compile(lambda x: (x.sin() + 1).sum(), backend="inductor")(torch.ones(8, device=device))
    except Exception as err:  # no C compiler, no Triton, a card that is too old
        reason = " ".join(f"{type(err).__name__}: {err}".split())[:200]
        return "aot_eager", f"inductor does not work here ({reason})"
    return "inductor", ""


PARTS: dict[str, Part] = {"matrix": matrix}
