# SPDX-License-Identifier: Apache-2.0
"""The pools: every run with its metrics and its label. ``python pool.py record`` trains what is missing, ``list`` shows it.

A run that was broken off is trained again, one that is finished is not. Its metrics lie in ``runs/NAME.csv.gz``, its line in
``runs/index.jsonl``; those of ordinary trainings (``--ordinary``) in ``ordinary_runs/PART/``.
"""

import argparse
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Protocol

from ordinary.families import PARTS, all_ordinary
from ordinary.spec import OrdinarySpec
from pool_file import INDEX, ORDINARY_RUNS, RUNS, pools_in, read_index, read_ordinary, read_pool
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from scoring.ordinary_labels import VIEWS, ordinary_label
from scoring.runs import ScoredRun
from spec import Spec
from specs import all_specs

from lightning_interp.store.jsonl import append_line, cut_torn_tail

Recorder = Callable[[Any, Path], dict[str, Any]]
"""Trains one run, writes its metrics into a folder, and gives its line in the index."""


class Named(Protocol):
    """What defines a run."""

    @property
    def name(self) -> str:
        """Names its files."""
        ...


def record_all(specs: Iterable[Named], folder: Path, recorder: Recorder, *, workers: int, most: int | None) -> None:
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
        futures = {executor.submit(recorder, spec, folder): spec for spec in missing}
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


def record_phases(spec: Spec, folder: Path) -> dict[str, Any]:
    """One run of the pool of phases; imported where it is needed: a table is shown without torch."""
    from record import record

    return record(spec, folder)


def record_ordinary(spec: OrdinarySpec, folder: Path) -> dict[str, Any]:
    """One ordinary training."""
    from ordinary.recording import record_ordinary

    return record_ordinary(spec, folder)


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


def show_ordinary(folder: Path) -> None:
    """A table of the ordinary trainings with the verdicts that are right, and how many there are of each kind and part."""
    table = Table("run", "part", "kind", "right", "from losses alone", "CPU s")
    counts: Counter[tuple[str, str]] = Counter()
    entries = [entry for pool in pools_in(folder) for entry in read_ordinary(pool)]
    for entry in entries:
        facts = entry.facts
        cells = []
        for view in VIEWS:
            found = ordinary_label(entry.metrics, facts, view=view)
            cells.append(", ".join(sorted(found.right)) + (" (borderline)" if found.borderline else ""))
        table.add_row(facts["name"], facts["part"], facts["kind"], *cells, f"{facts['cpu_s']:.0f}")
        counts[facts["part"], facts["kind"]] += 1
    console = Console()
    console.print(table)
    for (part, kind), count in sorted(counts.items()):
        console.print(f"{part}: {count} {kind}")
    seconds = sum(entry.facts["cpu_s"] for entry in entries)
    families = Counter(entry.facts["family"] for entry in entries)
    others = sum(entry.facts["third_party"] for entry in entries)
    console.print(
        f"{len(entries)} runs in {len(families)} families, the largest of {max(families.values())}, {others} on data"
    )
    console.print(f"made by others; {seconds / 60:.0f} processor minutes")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("record", "list"), help="train what is missing, or show what there is")
    parser.add_argument("--ordinary", action="store_true", help="the ordinary trainings, not those made to grok or memorize")
    parser.add_argument("--folder", type=Path, help="where the metrics are (default: beside this file)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="trainings at a time (default: one a core)")
    parser.add_argument("--most", type=int, help="train at most so many")
    args = parser.parse_args()
    folder = args.folder or (ORDINARY_RUNS if args.ordinary else RUNS)
    if args.what == "record" and args.ordinary:
        for part in PARTS:
            specs = (spec for spec in all_ordinary() if spec.part == part)
            record_all(specs, folder / part, record_ordinary, workers=args.workers, most=args.most)
    elif args.what == "record":
        record_all(all_specs(), folder, record_phases, workers=args.workers, most=args.most)
    (show_ordinary if args.ordinary else show)(folder)


if __name__ == "__main__":
    main()
