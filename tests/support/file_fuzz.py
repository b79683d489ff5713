# SPDX-License-Identifier: Apache-2.0
"""Seeded changes of real files, and what the package says of each: an answer, an error of its own, or a fault.

    python -m file_fuzz {metrics|checkpoints} --count 2000     # tests/support on PYTHONPATH
    python -m file_fuzz metrics --first 17 --count 1 --keep FOLDER

Input number N is the same wherever it is made. Files begin as their own writers leave them: tables, Trainer
and Keras histories, TensorBoard, an offline W&B run, MLflow's folders; torch.save, safetensors, parts with an index.
"""

import argparse
import contextlib
import gzip
import io
import json
import multiprocessing
import queue
import random
import resource
import shutil
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ODD = [
    "nan",
    "1e999",
    "-1",
    "0x10",
    "",
    "2**63",
    str(2**63),
    "9" * 400,
    "1,5",
    "NULL",
    "true",
    "[]",
    '"',
    "\\",
    "\0",
    "é",
    "-0",
]
ODD += ["1e-320", "Infinity", "0.0.0", "step", "🙂", " ", "tensor(1.)", "1e18", "100%"]
MEMORY_MB = 1000
SECONDS = 20


def make_metrics(folder: Path) -> None:
    """Metrics files of several writers."""
    rows = [(step, 3 / (1 + step), 3.5 / (1 + step / 3), min(1.0, step / 20)) for step in range(0, 60, 2)]
    table = "step,train_loss,val_loss,val_acc\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)
    (folder / "metrics.csv").write_text(table)
    (folder / "epochs.csv").write_text(table.replace("step,train_loss", "epoch,loss"))
    (folder / "runs.csv").write_text(table.replace("train_loss,val_loss", "a - train_loss,a - val_loss"))
    (folder / "comma.csv").write_text(table.replace(",", ";").replace(".", ","))
    (folder / "metrics.csv.gz").write_bytes(gzip.compress(table.encode(), mtime=0))
    lines = [{"step": s, "loss": {"train": t, "val": v}, "acc": a} for s, t, v, a in rows]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    log = [{"step": s, "loss": t} for s, t, _, _ in rows] + [{"step": s, "eval_loss": v} for s, _, v, _ in rows]
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 58, "log_history": log}, indent=1))
    (folder / "history.json").write_text(
        json.dumps({"loss": [t for _, t, _, _ in rows], "val_loss": [v for _, _, v, _ in rows]})
    )
    for name, at in (("train_loss", 1), ("val_loss", 2)):
        series = folder / "mlflow" / "metrics" / name
        series.parent.mkdir(parents=True, exist_ok=True)
        series.write_text("".join(f"17000000000{row[0]:02d} {row[at]} {row[0]}\n" for row in rows))
    _tensorboard(folder, rows)
    _wandb(folder, rows)


def _tensorboard(folder: Path, rows: list[tuple[float, ...]]) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / "tb")) as writer:
        for step, train, val, _ in rows:
            writer.add_scalar("train_loss", train, int(step))
            writer.add_scalar("val_loss", val, int(step))


def _wandb(folder: Path, rows: list[tuple[float, ...]]) -> None:
    import wandb

    from lightning_interp.sources.metrics.wandb_run import can_read

    if not can_read():
        return
    settings = wandb.Settings(mode="offline", silent=True, console="off", x_disable_stats=True)
    run = wandb.init(project="fuzz", dir=str(folder), settings=settings)
    for step, train, val, _ in rows:
        run.log({"train_loss": train, "val_loss": val, "trainer/global_step": int(step)})
    run.finish()
    shutil.copy(run.settings.sync_file, folder / "run.wandb")
    shutil.rmtree(folder / "wandb")


def make_checkpoints(folder: Path) -> None:
    """Three steps of a small network in each layout, a folder each."""
    import torch
    from safetensors.torch import save_file

    for step in (0, 10, 20):
        torch.manual_seed(step)
        state = {"a.weight": torch.randn(6, 4), "a.bias": torch.randn(6), "b.weight": torch.randn(2, 6)}
        for layout in ("plain", "lightning", "flat", "index"):
            (folder / layout).mkdir(exist_ok=True)
        torch.save(state, folder / "plain" / f"step{step}.pt")
        torch.save(
            {"state_dict": state, "global_step": step, "epoch": 0, "lr": 0.1}, folder / "lightning" / f"step={step}.ckpt"
        )
        save_file(state, folder / "flat" / f"step{step}.safetensors")
        parts = folder / "index" / f"checkpoint-{step}"
        parts.mkdir()
        save_file({"a.weight": state["a.weight"]}, parts / "model-1.safetensors")
        save_file({name: state[name] for name in ("a.bias", "b.weight")}, parts / "model-2.safetensors")
        names = {name: f"model-{1 if name == 'a.weight' else 2}.safetensors" for name in state}
        (parts / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def change_bytes(data: bytes, rng: random.Random) -> bytes:
    """A few bytes flipped, cut, doubled, inserted or emptied."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del changed[at : at + rng.choice((1, 7, 100, len(changed)))]
        elif kind == 2:
            changed[at:at] = changed[max(0, at - rng.choice((3, 60))) : at]
        elif kind == 3:
            changed[at:at] = rng.choice(ODD).encode()
        else:
            changed[at : at + 4] = bytes(4)
    return bytes(changed)


def change_rows(data: bytes, rng: random.Random) -> bytes:
    """Rows doubled, moved, left out or mixed; cells that hold something odd; another encoding."""
    lines = data.decode(errors="replace").split("\n")
    separator = next((each for each in ",;\t " if each in lines[0]), ",")
    for _ in range(rng.choice((1, 1, 3))):
        at = rng.randrange(len(lines))
        kind = rng.randrange(7)
        cells = lines[at].split(separator)
        if kind == 0:
            lines.insert(rng.randrange(len(lines) + 1), lines[at])
        elif kind == 1 and len(lines) > 1:
            lines.insert(rng.randrange(len(lines)), lines.pop(at))
        elif kind == 2:
            lines[at:at] = lines[: rng.randrange(len(lines))]
        elif kind == 3:
            rng.shuffle(cells)
            lines[at] = separator.join(cells)
        elif kind == 4:
            lines = lines[: at + 1]
        else:
            cells[rng.randrange(len(cells))] = rng.choice(ODD)
            lines[at] = separator.join(cells)
    text = rng.choice(("\n", "\n", "\n", "\r\n", "\r")).join(lines)
    return text.encode(
        rng.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1")), errors="replace"
    )


def change_json(data: bytes, rng: random.Random) -> bytes:
    """Fields renamed, left out, nested, or of another type, in a document or in one of its lines."""
    lines = data.decode(errors="replace").splitlines() or [""]
    whole = rng.random() < 0.5
    at = rng.randrange(len(lines))
    try:
        content = json.loads(data if whole else lines[at])
    except ValueError:
        return change_rows(data, rng)
    for _ in range(rng.choice((1, 2, 4))):
        content = _changed_value(content, rng)
    text = json.dumps(content)
    return text.encode() if whole else "\n".join([*lines[:at], text, *lines[at + 1 :], ""]).encode()


def _changed_value(value: Any, rng: random.Random) -> Any:
    odd = [None, True, -1, 2**63, 1e308, "x", [], {}, [[[]]], {"a": {"b": 1}}, float("nan"), "1.5", [1, 2]]
    if isinstance(value, dict) and value and rng.random() < 0.85:
        name = rng.choice(list(value))
        kind = rng.randrange(4)
        if kind == 0:
            return {key: each for key, each in value.items() if key != name}
        if kind == 1:
            return {rng.choice(ODD) if key == name else key: each for key, each in value.items()}
        return value | {name: _changed_value(value[name], rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        return [*value[:at], _changed_value(value[at], rng), *value[at + rng.randrange(2) :]]
    return rng.choice(odd)


def change_zip(data: bytes, rng: random.Random) -> bytes:
    """The pickle or a storage of a file of torch.save, with sizes and checksums that fit again."""
    try:
        members = {
            name: zipfile.ZipFile(io.BytesIO(data)).read(name) for name in zipfile.ZipFile(io.BytesIO(data)).namelist()
        }
    except Exception:  # the changed file may be no zip file any more, in many ways
        return change_bytes(data, rng)
    pickles, storages = ([each for each in members if part in each] for part in ("data.pkl", "/data/"))
    name = rng.choice([*pickles, *rng.sample(storages, min(2, len(storages)))] or list(members))
    if name in storages and rng.random() < 0.8:  # numbers of another kind in bytes of the same count
        values = [
            rng.choice((0.0, 1e300, float("nan"), float("inf"), 1e-320, rng.gauss(0, 1))) for _ in range(len(members[name]))
        ]
        members[name] = struct.pack(f"<{len(values)}d", *values)[: len(members[name])]
    elif rng.random() < 0.5:  # another name of the same length
        old, new = rng.choice(
            (
                (b"a.weight", b"x.weight"),
                (b"b.weight", b"a.weight"),
                (b"global_step", b"global_stop"),
                (b"a.bias", b"a.b\x00as"),
            )
        )
        members[name] = members[name].replace(old, new)
    else:
        members[name] = change_bytes(members[name], rng)
    if rng.random() < 0.1:
        del members[rng.choice(list(members))]
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for each, content in members.items():
            archive.writestr(each, content)
    return made.getvalue()


def change_header(data: bytes, rng: random.Random) -> bytes:
    """The header of a safetensors file, with a length that fits."""
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if not 0 < length < len(data):
        return change_bytes(data, rng)
    if rng.random() < 0.5:  # numbers of another kind in the same bytes
        body = bytearray(data[8 + length :])
        for _ in range(4):
            at = rng.randrange(max(1, len(body) // 4)) * 4
            body[at : at + 4] = struct.pack("<f", rng.choice((0.0, 3e38, float("nan"), float("inf"), 1e-44, 1.0)))[
                : len(body[at : at + 4])
            ]
        return data[: 8 + length] + bytes(body)
    header = change_json(data[8 : 8 + length], rng)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def changer(path: Path) -> list[Callable[[bytes, random.Random], bytes]]:
    """Ways to change a file of this kind."""
    if path.suffix in (".csv", ".tsv") or path.parent.name == "metrics":
        return [change_rows, change_rows, change_rows, change_bytes]
    if path.suffix in (".json", ".jsonl"):
        return [change_json, change_json, change_rows, change_bytes]
    if path.suffix in (".pt", ".ckpt"):
        return [change_zip, change_zip, change_bytes]
    return [change_header, change_bytes] if path.suffix == ".safetensors" else [change_bytes]


def make_input(kind: str, number: int, seeds: Path, folder: Path) -> Path:
    """Input `number`, made in a folder; returns what is given to the package."""
    rng = random.Random(f"{kind}/{number}")
    chosen = rng.choice(sorted(seeds.iterdir()))
    target = folder / chosen.name
    shutil.copytree(chosen, target) if chosen.is_dir() else shutil.copy(chosen, target)
    files = sorted(each for each in target.rglob("*") if each.is_file()) if target.is_dir() else [target]
    for _ in range(rng.choice((1, 1, 2))):
        path = rng.choice(files)
        if path.is_file():
            path.write_bytes(rng.choice(changer(path))(path.read_bytes(), rng))
        if target.is_dir() and rng.random() < 0.1:
            renamed = path.with_name(
                rng.choice(("step", "epoch_", "x")) + rng.choice(ODD).replace("/", "").replace("\0", "") + path.suffix
            )
            if path.is_file() and len(renamed.name) < 200:
                path.rename(renamed)
    return target


def answer_metrics(path: Path, _folder: Path) -> str:
    from lightning_interp.core.judged import judged_series
    from lightning_interp.phases import detect_phases
    from lightning_interp.sources.metrics.history import read_metrics

    detect_phases(judged_series(read_metrics(path).series, None))
    return "answered"


def answer_checkpoints(path: Path, folder: Path) -> str:
    from lightning_interp.posthoc.checkpoint_analysis import analyze_checkpoints

    done = analyze_checkpoints(path, out=folder / "out", measures="norms", device="cpu")
    unread = any(finding.kind in ("damaged", "not_read") for finding in done.findings)
    return "refused in part" if unread else "answered"


KINDS = {"metrics": (make_metrics, answer_metrics), "checkpoints": (make_checkpoints, answer_checkpoints)}


def answered(kind: str, number: int, seeds: Path, keep: Path | None = None) -> str:
    """What became of one input: ``answered``, ``refused``, or a fault by its type and place."""
    from lightning_interp.core.errors import InterpError

    with tempfile.TemporaryDirectory() as made, warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        folder = keep or Path(made)
        given = make_input(kind, number, seeds, folder)
        try:
            outcome = KINDS[kind][1](given, folder)
        except InterpError:
            outcome = "refused"
        except Exception as err:
            frames = [each for each in traceback.extract_tb(err.__traceback__) if "lightning_interp" in each.filename]
            place = f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else "?"
            outcome = f"{type(err).__name__} in {place}: {str(err)[:80]}"
        return outcome


def _work(kind: str, seeds: Path, numbers: Any, results: Any) -> None:
    import torch

    torch.set_num_threads(1)
    sys.stderr = io.StringIO()
    before = _memory_mb()
    for number in iter(numbers.get, None):
        results.put((number, "begun", 0))
        outcome = answered(kind, number, seeds)
        results.put((number, outcome, _memory_mb() - before))


def _memory_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def fuzz(kind: str, first: int, count: int, seeds: Path, *, processes: int = 2) -> dict[int, str]:
    """Outcome of each input; one that takes over 20 seconds or a gigabyte is a fault, as is one that ends its process."""
    outcomes: dict[int, str] = {}
    while todo := [number for number in range(first, first + count) if number not in outcomes]:
        known = len(outcomes)
        unfinished = _round(kind, todo, seeds, processes, outcomes)
        for number, seconds in unfinished.items():
            outcomes[number] = f"hang over {SECONDS} s" if seconds > SECONDS else "the process died"
        if len(outcomes) == known:
            raise RuntimeError("no worker starts")
    return outcomes


def _round(kind: str, todo: list[int], seeds: Path, processes: int, outcomes: dict[int, str]) -> dict[int, float]:
    """Let workers go through inputs until all are done or one does not end; returns those begun, with their seconds."""
    context = multiprocessing.get_context("spawn")
    numbers, results = context.Queue(), context.Queue()
    workers = [context.Process(target=_work, args=(kind, seeds, numbers, results), daemon=True) for _ in range(processes)]
    for each in [*todo, *[None] * processes]:
        numbers.put(each)
    for worker in workers:
        worker.start()
    begun: dict[int, float] = {}
    while any(worker.is_alive() for worker in workers) and not any(
        time.monotonic() - each > SECONDS for each in begun.values()
    ):
        _take(results, begun, outcomes)
    for worker in workers:
        worker.kill()
    _take(results, begun, outcomes)
    return {number: time.monotonic() - since for number, since in begun.items()}


def _take(results: Any, begun: dict[int, float], outcomes: dict[int, str]) -> None:
    """Take in what workers told so far."""
    with contextlib.suppress(queue.Empty):
        while True:
            number, outcome, memory = results.get(timeout=0.5)
            if outcome == "begun":
                begun[number] = time.monotonic()
            else:
                begun.pop(number, None)
                outcomes[number] = outcome if memory < MEMORY_MB else f"grew by {memory} MB"


def table(outcomes: dict[int, str]) -> str:
    """Counts by outcome, faults with an input each."""
    counts = Counter(outcomes.values())
    first = {outcome: number for number, outcome in sorted(outcomes.items(), reverse=True)}
    lines = [f"{count:6}  {outcome}  (input {first[outcome]})" for outcome, count in counts.most_common()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seeds", type=Path, help="folder of files to begin with, made if it is not there")
    parser.add_argument("--keep", type=Path, help="make input --first here, and print what became of it")
    args = parser.parse_args()
    seeds = args.seeds or Path(tempfile.mkdtemp()) / "seeds"
    if not seeds.exists():
        seeds.mkdir(parents=True)
        KINDS[args.kind][0](seeds)
    if args.keep is not None:
        args.keep.mkdir(parents=True)
        print(answered(args.kind, args.first, seeds, args.keep))
        return
    print(table(fuzz(args.kind, args.first, args.count, seeds, processes=args.processes)))


if __name__ == "__main__":
    main()
