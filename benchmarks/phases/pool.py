# SPDX-License-Identifier: Apache-2.0
"""The pool: every run with its metrics and its label. ``python pool.py record`` trains what is missing, ``list`` shows it.

A run that was broken off is trained again, one that is finished is not. Its metrics lie in ``runs/NAME.csv.gz``, its line in
``runs/index.jsonl``.
"""

import argparse
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from pool_file import INDEX, RUNS, read_index, read_pool
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from scoring.runs import ScoredRun
from spec import Spec
from specs import all_specs

from lightning_interp.store.jsonl import append_line, cut_torn_tail


def record_all(specs: Iterable[Spec], folder: Path, *, workers: int, most: int | None) -> None:
    """Train what is missing, several at a time, and write each down when it is finished."""
    folder.mkdir(parents=True, exist_ok=True)
    cut_torn_tail(folder / INDEX)
    done = {line["name"] for line in read_index(folder)}
    missing = [spec for spec in specs if spec.name not in done][:most]
    context = multiprocessing.get_context("spawn")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress, ProcessPoolExecutor(workers, context) as executor:
        task = progress.add_task("runs", total=len(missing))
        futures = {executor.submit(_record, spec, folder): spec for spec in missing}
        try:
            for future in as_completed(futures):
                name = futures[future].name
                if failed := future.exception():
                    progress.console.print(f"{name} failed: {failed!r}")
                else:
                    append_line(folder / INDEX, future.result())
                progress.update(task, advance=1, description=name)
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def _record(spec: Spec, folder: Path) -> dict[str, Any]:
    from record import record

    return record(spec, folder)


def show(folder: Path) -> None:
    """A table of the runs, and how many there are of each kind and part."""
    table = Table("run", "part", "kind", "memorized", "formation", "cleanup", "grokked", "CPU s")
    counts: Counter[tuple[str, str]] = Counter()
    seconds = 0.0
    for entry in read_pool(folder):
        run = ScoredRun.of(entry.facts, entry.metrics)
        found = run.label
        steps = (found.t_mem, found.t_formation, found.t_cleanup, found.t_grok)
        kind = f"{found.kind}{', censored' if found.censored else ''}"
        cells = ("" if step is None else f"{step:,}" for step in steps)
        table.add_row(run.name, run.part, kind, *cells, f"{entry.facts['cpu_s']:.0f}")
        counts[run.part, kind] += 1
        seconds += entry.facts["cpu_s"]
    console = Console()
    console.print(table)
    for (part, kind), count in sorted(counts.items()):
        console.print(f"{part}: {count} {kind}")
    console.print(f"{counts.total()} runs, {seconds / 3600:.2f} processor hours")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("record", "list"), help="train what is missing, or show what there is")
    parser.add_argument("--folder", type=Path, default=RUNS, help="where the metrics are (default: beside this file)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="trainings at a time (default: one a core)")
    parser.add_argument("--most", type=int, help="train at most so many")
    args = parser.parse_args()
    if args.what == "record":
        record_all(all_specs(), args.folder, workers=args.workers, most=args.most)
    show(args.folder)


if __name__ == "__main__":
    main()
