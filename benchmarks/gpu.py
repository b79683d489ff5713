# SPDX-License-Identifier: Apache-2.0
"""Everything that can only be measured on a GPU, in one command and one table, in under ten minutes.

Sections, all by default: ``scaler`` (half precision with steps left out), ``capture`` (a profiler's trace without a
synchronization of ours, time in the hook, time of steps, device memory), ``neutrality`` (three precisions, eager and
compiled, bit by bit), ``tca`` (rank selection and following a run against tensorly on the same GPU), ``replica`` (the
analysis on the GPU that trains, and off it when it is full) and ``tests`` (those marked `gpu`).

    make bench-gpu                                      sets up .venv first
    PYTHONPATH=. python benchmarks/gpu.py               with what is installed: torch, lightning, numpy, tensorly
    python benchmarks/gpu.py --sections capture tca --out here.md

The table goes to site/gpu.md, the same rows to site/gpu.json, the trace to site/gpu-trace.json.gz. Exit code: 0 where all
ran and all claims held, 1 where something did not, 2 where there is no CUDA device (nothing is written then).

``--device cpu --quick`` rehearses: it shows that the sections run to their end, with tiny sizes, and says nothing of a GPU.
"""

import argparse
import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from gpu_parts.machine import machine_line, missing
from gpu_parts.rows import Row, counts, markdown, number
from gpu_parts.sections import ON_THE_CPU, UNATTENDED, WEIGHTS, Order, run_sections

MINUTES = 9.5
"""Time for all sections; a command of ten minutes also starts and writes."""
REPOSITORY = Path(__file__).parents[1]
DONE, NOT_HELD, NO_CUDA = 0, 1, 2
REHEARSAL = "**Rehearsal on the CPU, no GPU number**: tiny sizes, to see that every section runs to its end."


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", choices=WEIGHTS, default=list(WEIGHTS), help="what to measure")
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"time for all sections (default: {MINUTES})")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "site" / "gpu.md", help="the table (default: site/gpu.md)")
    parser.add_argument("--device", default="cuda:0", help="a GPU, or cpu to rehearse (default: cuda:0)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and few repeats")
    parser.add_argument("--together", action="store_true", help="all sections in this process, without limits")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print rows as they come, write the table after each section; returns the exit code."""
    options = parsed(arguments)
    if options.device != "cpu" and (reason := no_cuda()):
        print(f"bench-gpu: {reason}, so nothing was measured.", file=sys.stderr)
        return NO_CUDA
    began = time.monotonic()
    os.environ |= UNATTENDED | (ON_THE_CPU if options.device == "cpu" else {})
    head = [machine_line(options.device)]
    head += [REHEARSAL] if options.device == "cpu" else []
    if lacking := missing():
        head.append(f"Not installed here: {', '.join(lacking)}.")
    print("\n".join(head), flush=True)
    rows: list[tuple[str, Row]] = []
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="interp-gpu-", ignore_cleanup_errors=True) as scratch:
        keep = str(options.out.with_suffix("").absolute())
        orders = [Order(name, options.device, options.quick, 0.0, scratch, keep) for name in options.sections]
        for section, row in run_sections(orders, 60 * options.minutes, together=options.together):
            rows.append((section, row))
            cells = (section, row.name, f"{number(row.value)} {row.unit}", row.spread, row.verdict, row.note)
            print(" | ".join(filter(str.strip, cells)), flush=True)
            write(options.out, head, rows, command=shlex.join(sys.argv), seconds=time.monotonic() - began)
    print(f"{counts(row for _, row in rows)}; {time.monotonic() - began:.0f} s; table in {options.out}")
    return DONE if all(row.verdict in ("", "held") for _, row in rows) else NOT_HELD


def no_cuda() -> str:
    """Why nothing can be measured here, empty where there is a GPU."""
    try:
        import torch
    except ModuleNotFoundError:
        return "torch is not installed"
    return "" if torch.cuda.is_available() else f"torch {torch.__version__} sees no CUDA device here"


def write(out: Path, head: Sequence[str], rows: Sequence[tuple[str, Row]], *, command: str, seconds: float) -> None:
    """The table as Markdown, and the same as JSON beside it."""
    told = f"`{command}`, {seconds:.0f} s so far: {counts(row for _, row in rows)}."
    out.write_text("\n\n".join(["# On a GPU", *head, told, markdown(rows)]) + "\n", encoding="utf-8")
    plain = {"head": list(head), "seconds": seconds, "rows": [{"section": name, **asdict(row)} for name, row in rows]}
    out.with_suffix(".json").write_text(json.dumps(plain, indent=1), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
