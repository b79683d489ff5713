# SPDX-License-Identifier: Apache-2.0
"""The pool: every run with its metrics and its label. ``python pool.py record`` trains what is missing, ``list`` shows it.

A run that was broken off is trained again, one that is finished is not. Its metrics lie in ``runs/NAME.csv.gz``, its line in
``runs/index.jsonl``.
"""

import argparse
import json
import multiprocessing
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from labels import Label, Series, label
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from spec import Spec
from specs import all_specs

RUNS = Path(__file__).parent / "runs"
INDEX = "index.jsonl"


@dataclass(frozen=True)
class PoolRun:
    """A recorded run.

    Attributes:
        spec: Its definition.
        facts: Its line in the index.
        metrics: Columns by name, nan where there was no value.
        label: What happened.
    """

    spec: Spec
    facts: dict[str, Any]
    metrics: dict[str, Series]
    label: Label


def read_pool(folder: Path = RUNS) -> list[PoolRun]:
    """Every recorded run, by name."""
    runs = []
    for facts in sorted(_index(folder), key=lambda line: str(line["name"])):
        metrics = read_metrics(folder / f"{facts['name']}.csv.gz")
        found = label(metrics, classes=facts["classes"], answers_shuffled=facts["answers_shuffled"])
        runs.append(PoolRun(Spec(**facts["spec"]), facts, metrics, found))
    return runs


def read_metrics(path: Path) -> dict[str, Series]:
    """Columns of one run, nan in empty cells."""
    table = np.genfromtxt(path, delimiter=",", names=True)
    return {name: table[name] for name in table.dtype.names}


def record_all(specs: Iterable[Spec], folder: Path, *, workers: int, most: int | None) -> None:
    """Train what is missing, several at a time, and write each down when it is finished."""
    folder.mkdir(parents=True, exist_ok=True)
    done = {line["name"] for line in _index(folder)}
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
                with (folder / INDEX).open("a") as index:
                    index.write(json.dumps(future.result()) + "\n")
                progress.update(task, advance=1, description=futures[future].name)
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def _record(spec: Spec, folder: Path) -> dict[str, Any]:
    from record import record

    return record(spec, folder)


def _index(folder: Path) -> list[dict[str, Any]]:
    """Lines of the index; one that was broken off is left out, and its run trained again."""
    path = folder / INDEX
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def show(runs: Sequence[PoolRun]) -> None:
    """A table of the runs, and how many there are of each kind."""
    table = Table("run", "kind", "memorized", "formation", "cleanup", "grokked", "CPU s")
    for run in runs:
        found = run.label
        steps = (found.t_mem, found.t_formation, found.t_cleanup, found.t_grok)
        kind = f"{found.kind}{', censored' if found.censored else ''}"
        cells = ("" if step is None else f"{step:,}" for step in steps)
        table.add_row(run.spec.name, kind, *cells, f"{run.facts['cpu_s']:.0f}")
    console = Console()
    console.print(table)
    kinds = [run.label.kind for run in runs]
    console.print({kind: kinds.count(kind) for kind in sorted(set(kinds))})
    console.print(f"{len(runs)} runs, {sum(run.facts['cpu_s'] for run in runs) / 3600:.2f} processor hours")


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
    show(read_pool(args.folder))


if __name__ == "__main__":
    main()
