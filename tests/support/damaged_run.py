# SPDX-License-Identifier: Apache-2.0
"""A run directory that holds everything a run can, what can be wrong in one, and every command that reads it."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from prepared_run import PreparedRun, classifier, probe_split

from lightning_interp.config.monitor_config import MonitorConfig, resolve
from lightning_interp.config.run_directory import new_manifest
from lightning_interp.core.errors import InterpError
from lightning_interp.core.records import Probe
from lightning_interp.core.tca_settings import TCA
from lightning_interp.store import write_manifest, write_probe
from lightning_interp.store.delivered import Delivered, WandbTarget, write_delivered
from lightning_interp.store.heartbeat import Heartbeat, write_heartbeat
from lightning_interp.store.jsonl import append_line
from lightning_interp.store.layout import HEALTH, RECORDS, SNAPSHOTS

Mutation = Callable[[Path], None]
TARGET = WandbTarget("someone", "grokking", "abc123", mode="offline")
MEASURES = ("train_loss", "heldout_loss", "train_accuracy", "heldout_accuracy", "weight_norm", "hoyer", "weight_sketch")
JSON = ("run.json", "analysis.json", "phases.json", "heartbeat.json", "delivered.json")
LINES = ("records.jsonl", "health.jsonl")
TENSORS = ("probe.safetensors", "snapshots/step_000000005.safetensors", "observations/step_000000005.safetensors")
OTHERS = ("components/1.safetensors", "analyzer.lock")
FOLDERS = ("snapshots", "observations", "components")


def make_whole_run(folder: Path) -> Path:
    """A run that was analyzed to its end, with records, activations, components, health and W&B targets."""
    from lightning_interp.posthoc.unfinished_run import analyze_run

    module, path = classifier(), folder / "run"
    config = MonitorConfig.of(measures=MEASURES, layers=["1"], tca=TCA(ranks=(1, 2)))
    (path / SNAPSHOTS).mkdir(parents=True)
    manifest = replace(new_manifest(config, resolve(config, module), module), status="finished")
    write_manifest(path, manifest)
    run = PreparedRun(path, module, Probe(probe_split(6, seed=1), probe_split(5, seed=2)), manifest)
    write_probe(path, run.probe)
    for step in (0, 1, 2, 5, 10, 20):
        run.commit(step)
        run.descend()
        scalars = {"interp/lr": 1e-3, "loss": 1.0}
        row = {"event": "snapshot", "attempt": 0, "time": 1.7e9, "step": step, "bytes": 9, "write_ms": 1.0, "copy_ms": 1.0}
        append_line(path / HEALTH, {**row, "scalars": scalars})
    append_line(path / HEALTH, {"event": "overhead", "attempt": 0, "time": 1.7e9, "hook_share": 0.01, "share": 0.01})
    append_line(path / HEALTH, {"event": "dropped", "attempt": 0, "time": 1.7e9, "step": 7, "reason": "slow"})
    write_heartbeat(path, Heartbeat(1, "host", "start", 1.7e9))
    analyze_run(path, module=classifier)
    first = (path / RECORDS).read_bytes().index(b"\n") + 1
    write_delivered(path, Delivered(2, ("train_loss",), (replace(TARGET, step=0, read_bytes=first),)))
    return path


def set_field(path: Path, keys: tuple[Any, ...], value: Any) -> None:
    """Write a value into a JSON file, at the place the keys lead to."""
    content = json.loads(path.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(content))


def change_line(path: Path, number: int, change: Callable[[bytes], bytes]) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number] = change(lines[number])
    path.write_bytes(b"".join(lines))


def in_line(number: int, **changes: Any) -> Callable[[Path], None]:
    return lambda path: change_line(path, number, lambda line: (json.dumps(json.loads(line) | changes) + "\n").encode())


def _sparse(path: Path) -> None:
    path.write_bytes(b"")
    os.truncate(path, 2**31)


def _replaced(make: Callable[[Path], object]) -> Mutation:
    def change(path: Path) -> None:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        make(path)

    return change


PLACES: dict[str, Mutation] = {
    "missing": _replaced(lambda path: None),
    "empty": _replaced(lambda path: path.write_bytes(b"")),
    "a folder": _replaced(lambda path: path.mkdir()),
    "a FIFO": _replaced(os.mkfifo),
    "a link to itself": _replaced(lambda path: path.symlink_to(path)),
    "a link to nothing": _replaced(lambda path: path.symlink_to("nowhere")),
    "a link to zeros": _replaced(lambda path: path.symlink_to("/dev/zero")),
    "zeros": _replaced(lambda path: path.write_bytes(bytes(4096))),
}
"""What can be in the place of any file."""

CONTENTS: dict[str, Mutation] = {
    "sparse": _sparse,
    "garbage": lambda path: path.write_bytes(bytes(range(256)) * 8),
    "UTF-16": lambda path: path.write_text(path.read_text(), encoding="utf-16"),
    "BOM": lambda path: path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes()),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "a list": lambda path: path.write_text("[1, 2]\n"),
    "null": lambda path: path.write_text("null\n"),
    "a string": lambda path: path.write_text('"text"\n'),
    "deep": lambda path: path.write_text("[" * 100_000 + "]" * 100_000 + "\n"),
    "long number": lambda path: path.write_text('{"schema": ' + "9" * 5000 + ', "step": ' + "9" * 5000 + "}\n"),
    "empty object": lambda path: path.write_text("{}\n"),
}
"""What else can be in a file of text."""

WRONG: dict[str, Any] = {
    "null": None,
    "text": "word",
    "list": [1, "a"],
    "object": {"a": []},
    "true": True,
    "1e400": float("inf"),
    "nan": float("nan"),
    "huge": 10**400,
    "2^63": 2**63,
    "-1": -1,
    "1e300": 1e300,
}
"""Values for fields, most of them of another type."""


def _good_line(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_bytes().splitlines()[2]))


def line_mutations() -> Iterator[tuple[str, str, Mutation]]:
    """What can be wrong in one line of a file of lines."""
    for file in LINES:
        for name, change in {
            "garbage": lambda _: b"\x00\xff{garbage\n",
            "not JSON": lambda _: b"{'step': 1}\n",
            "a number": lambda _: b"17\n",
            "a list": lambda _: b"[1]\n",
            "empty object": lambda _: b"{}\n",
            "torn": lambda line: line[:20] + b"\n",
            "deep": lambda _: b"[" * 100_000 + b"]" * 100_000 + b"\n",
        }.items():
            yield file, f"line: {name}", lambda path, change=change: change_line(path, 2, change)
        yield file, "torn last line", lambda path: os.truncate(path, path.stat().st_size - 9)
        yield file, "twice the same step", lambda path: path.write_bytes(path.read_bytes() * 2)
    for key in ("step", "attempt", "values", "layers", "skipped", "vectors"):
        for name, value in WRONG.items():
            yield "records.jsonl", f"{key}={name}", in_line(2, **{key: value})
    for name, value in WRONG.items():
        one = {"train_loss": value, "weight_norm": value, "heldout_loss": value}
        yield "records.jsonl", f"a value={name}", in_line(2, values=one)
        yield "records.jsonl", f"a layer={name}", in_line(2, layers={"hoyer": [value, value, value]})
        yield "records.jsonl", f"a vector={name}", in_line(2, vectors={"weight_sketch": [value] * 4})
        yield "records.jsonl", f"a reason={name}", in_line(2, skipped={"hoyer": value})
        for key in ("event", "attempt", "time", "step", "reason", "scalars", "hook_share", "bytes", "write_ms"):
            yield "health.jsonl", f"{key}={name}", in_line(2, **{key: value})
        yield "health.jsonl", f"a scalar={name}", in_line(2, scalars={"interp/lr": value, "loss": value})
    yield "records.jsonl", "unknown measures", in_line(2, values={"a": 1.0}, layers={"b": [1.0]}, vectors={"c": [1.0]})
    yield "records.jsonl", "all 1e300", _all_enormous


def _all_enormous(path: Path) -> None:
    for number, line in enumerate(path.read_bytes().splitlines()):
        row = json.loads(line)
        row["values"] = dict.fromkeys(row["values"], 1e300)
        row["layers"] = {name: [1e300 for _ in values] for name, values in row["layers"].items()}
        row["vectors"] = {name: [(-1) ** n * 1e300 for n in range(len(v))] for name, v in row.get("vectors", {}).items()}
        change_line(path, number, lambda _, row=row: (json.dumps(row) + "\n").encode())


FIELDS: dict[str, tuple[tuple[Any, ...], ...]] = {
    "run.json": (
        *((key,) for key in ("schema", "run_id", "created", "layers", "activation_layers", "parameters", "module_class")),
        *((key,) for key in ("configuration", "versions", "probe", "attempts", "status")),
        *(("configuration", key) for key in ("measures", "tca", "task", "outcome", "provenance", "probe_step")),
        ("attempts", 0),
        ("attempts", 0, "attempt"),
        ("attempts", 0, "resumed_at"),
    ),
    "analysis.json": tuple(
        (key,)
        for key in (
            *("stage", "last_step", "pending", "route", "loss", "guess_checked", "mean_over", "n_classes", "null_loss"),
            *("null_error", "null_source", "heldout_examples", "probe_cut", "seconds_per_snapshot", "device", "threads"),
            *("notices", "start_id", "observing", "fitting", "busy_since", "ends_at", "waiting_for_slot", "waits_for"),
            *("untrusted", "labels", "logged_as"),
        )
    ),
    "phases.json": (
        *((key,) for key in ("schema", "verdict", "state", "analyzed", "phases", "alarms", "intensities", "evidence")),
        *(("stages",), ("loaders",), ("intensities", "memorization"), ("evidence", "reason"), ("evidence", "series")),
        *(("phases", 0), ("phases", 0, "name"), ("phases", 0, "start"), ("phases", 0, "end"), ("phases", 0, "confidence")),
        *(("phases", 0, "start_interval"), ("evidence", "null"), ("evidence", "grokking_step"), ("evidence", "t_mem")),
    ),
    "heartbeat.json": (("pid",), ("host",), ("start_id",), ("at",)),
    "delivered.json": (
        *(("step",), ("names",), ("wandb",), ("delivers",), ("schema",), ("wandb", 0), ("wandb", 0, "run_id")),
        *(("wandb", 0, key) for key in ("entity", "project", "step", "read_bytes", "outcome_step", "mode", "url")),
    ),
}
"""Fields of the JSON files, each of which gets every value of `WRONG`."""


def mutations() -> Iterator[tuple[str, str, Mutation]]:
    """File, what is wrong with it, and what does that to the file."""
    yield from ((file, name, change) for file in (*JSON, *LINES, *TENSORS, *OTHERS) for name, change in PLACES.items())
    yield from (
        (file, name, PLACES[name]) for file in FOLDERS for name in ("missing", "empty", "a FIFO", "a link to itself")
    )
    yield from ((file, name, change) for file in (*JSON, *LINES) for name, change in CONTENTS.items())
    yield from ((file, name, CONTENTS[name]) for file in (*TENSORS, OTHERS[0]) for name in ("garbage", "cut", "sparse"))
    yield from line_mutations()
    yield from field_mutations()
    yield "snapshots", "a step of 20 digits", _far_snapshot


def field_mutations() -> Iterator[tuple[str, str, Mutation]]:
    """Every field of the JSON files with every value of `WRONG`."""
    for file, places in FIELDS.items():
        for keys in places:
            for name, value in WRONG.items():
                change: Mutation = lambda path, keys=keys, value=value: set_field(path, keys, value)  # type: ignore[misc] # noqa: E731
                yield file, f"{'.'.join(map(str, keys))}={name}", change


def _far_snapshot(folder: Path) -> None:
    shutil.copy(folder / "step_000000005.safetensors", folder / f"step_{10**19}.safetensors")


def live_page(run_dir: Path) -> int:
    """What `watch` does at each look: 0, the page says what cannot be read."""
    from lightning_interp.dashboards.live.known_runs import KnownRuns
    from lightning_interp.dashboards.live.settings import SECTION, settings_from
    from lightning_interp.dashboards.live.updates import Updates

    updates = Updates(KnownRuns([run_dir]))
    for section, _ in SECTION.options:
        updates.since(None, settings_from(section, None, None, None, None))
    return 0


def late_rows(run_dir: Path) -> int:
    """What `sync` reads to find what a W&B run has not got: 2 if the package refuses."""
    from lightning_interp.dashboards.loggers.sync import choose_targets, find_late
    from lightning_interp.store.run import open_run

    try:
        for target in choose_targets(open_run(run_dir), project=None, entity=None, run_id=None):
            find_late(open_run(run_dir), target)
    except InterpError:
        return 2
    return 0


def commands(run_dir: Path, whole: Path, out: Path) -> dict[str, Callable[[], int]]:
    """Every command that reads a run directory, each as a function that gives its exit code."""
    from lightning_interp.cli.main import main

    words = {
        "status": ["status", run_dir],
        "status --json": ["status", run_dir, "--json"],
        "phases": ["phases", run_dir],
        "export": ["export", run_dir, "-o", out / "table.csv", "--overwrite"],
        "sync": ["sync", run_dir, "--entity", "nobody"],
        "report": ["report", run_dir, "-o", out],
        "compare": ["compare", run_dir, whole],
        "tca": ["tca", run_dir, "--ranks", "1", "--restarts", "1"],
        "analyze": ["analyze", run_dir],
    }
    found: dict[str, Callable[[], int]] = {
        name: lambda arguments=arguments: main(list(map(str, arguments))) for name, arguments in words.items()
    }
    return found | {"watch": lambda: live_page(run_dir), "late": lambda: late_rows(run_dir)}
