# SPDX-License-Identifier: Apache-2.0
"""What the report of a long run of many layers costs: time, size and memory.

``python benchmarks/report_page.py`` makes the run directory that ``live_page.py`` serves (200 layers, 5,000 snapshots,
removed at the end) and writes its report in a process of its own, several times: imports, reading 57 MB of records, drawing,
writing.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from live_page import LAYERS, SNAPSHOTS, SyntheticRun

ROUNDS = 5
SCRIPT = """
import json, resource, sys, time
began = time.perf_counter()
from lightning_interp.dashboards.report import write_report
imported = time.perf_counter()
page = write_report([sys.argv[1]])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
whole, without = time.perf_counter() - began, time.perf_counter() - imported
print(json.dumps({"whole": whole, "without": without, "mb": page.stat().st_size / 1e6, "peak": peak}))
"""


def once(run_dir: Path) -> dict[str, float]:
    """One report in a process of its own: seconds with and without imports, size and peak memory in MB."""
    command = [sys.executable, "-c", SCRIPT, str(run_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--snapshots", type=int, default=SNAPSHOTS)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="interp-"))
    try:
        SyntheticRun(folder / "run", layers=args.layers, snapshots=args.snapshots)
        found = [once(folder / "run") for _ in range(ROUNDS)]
    finally:
        shutil.rmtree(folder)
    print(f"report of {args.layers} layers and {args.snapshots:,} snapshots, {ROUNDS} times")
    for key, words in (
        ("whole", "seconds with imports"),
        ("without", "seconds without"),
        ("mb", "MB"),
        ("peak", "MB of memory"),
    ):
        values = [each[key] for each in found]
        print(f"  {words}: {median(values):.2f} [{min(values):.2f} .. {max(values):.2f}]")


if __name__ == "__main__":
    main()
