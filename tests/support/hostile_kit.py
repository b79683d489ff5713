# SPDX-License-Identifier: Apache-2.0
"""Files whose names and contents would steer a terminal, and every command that reads such files."""

import csv
import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import torch
from compared_runs import STEPS, activations, timeline, write_run
from reference_run import ESCAPES, HOSTILE_NAME, make_hostile_run
from torch.utils.tensorboard import SummaryWriter

from lightning_interp.core.timeline import Phase
from lightning_interp.store import read_manifest, write_manifest
from lightning_interp.store.delivered import Delivered, WandbTarget, write_delivered

FORGED = "verdict: grokking"
EVIL = (
    "\x1b]0;owned\x07\x1b[2J\x1b[31;5m\x9b31m\x7f\x85\b\r"  # ESC, BEL, C1, DEL, backspace, CR
    "\u202e\u2066\u200e\u200f\u061c"  # directions of writing
    "\u2028\u2029\u200b\u00ad\ufeff\U000e0041"  # ends of lines and what has no width
    f"\n{FORGED}"
)
EVIL_NAME = EVIL + os.fsdecode(b"\x9b")  # of a file: bytes that are no text

RUNNER = """
import json, os, sys
from lightning_interp.cli.main import main

for name, arguments in json.loads(sys.stdin.read()).items():
    for number, end in ((1, "out"), (2, "err")) if len(sys.argv) > 1 else ():
        os.dup2(os.open(os.path.join(sys.argv[1], f"{name}.{end}"), os.O_WRONLY | os.O_CREAT), number)
    print(f"exit code {main(arguments)}", file=sys.stderr, flush=True)
"""
"""Runs the commands of a kit in one process: with a folder, the output of each goes to files there."""

_DRAWING = re.compile(r"\r?\n|\r(?=\x1b\[2K)|\x1b\[2K|\x1b\[\d*A|\x1b\[\?25(?:l|h\r?)|\x1b\[(?![\d;]*31;5m)[\d;]*m")
"""Line ends of a terminal, a line emptied, lines up, the cursor hidden and shown, and any colour but a stranger's."""


def make_kit(folder: Path) -> dict[str, list[str]]:
    """Write the files into a folder, and give the commands by name."""
    at = _places(folder)
    make_hostile_run(folder, EVIL)
    for name in ("trained", "third", "synced"):
        _train(at[name])
    target = WandbTarget(EVIL, EVIL, EVIL, url=EVIL, mode="offline", step=10**9, read_bytes=10**9, outcome_step=10**9)
    write_delivered(at["synced"], Delivered(10**9, ("train_loss",), (target,)))
    at["damaged"].mkdir()
    (at["damaged"] / "run.json").write_text(json.dumps({"schema": EVIL, EVIL: EVIL}))
    _save_checkpoints(at["checkpoints"])
    flat = "".join(EVIL.splitlines())  # the lines of a CSV are those of the file
    _write_table(at["plain"], ("step", "train_loss", "val_loss", flat), 1.0)
    _write_table(at["bad cell"], ("step", "train_loss", "val_loss"), EVIL)
    _write_table(at["foreign columns"], (f"{flat}a", f"{flat}b"), 1.0)
    _write_table(at["broken header"], ("step", "train_loss", EVIL), 1.0)
    _log_to_tensorboard(at["log"])
    return commands(folder)


def commands(folder: Path) -> dict[str, list[str]]:
    """Every command that reads such files, and those that only quote what they are given, by name."""
    at = {name: str(path) for name, path in _places(folder).items()}
    out, on_cpu = at["out"], ("--device", "cpu")
    tca = ["tca", at["trained"], "--ranks", "1,2", "--restarts", "1"]
    return {
        "no_command": [EVIL],
        "status": ["status", at["run"]],
        "status_json": ["status", at["run"], "--json"],
        "status_follow": ["status", at["trained"], "--follow"],
        "status_nothing": ["status", out],
        "status_damaged": ["status", at["damaged"]],
        "status_unknown_option": ["status", at["run"], f"--{EVIL}"],
        "report": ["report", at["run"], at["trained"]],
        "report_json": ["report", at["trained"], "--json"],
        "report_unwritable": ["report", at["trained"], "-o", at["plain"]],
        "phases_csv": ["phases", at["plain"], "--states"],
        "phases_json": ["phases", at["plain"], "--json"],
        "phases_bad_cell": ["phases", at["bad cell"]],
        "phases_foreign_columns": ["phases", at["foreign columns"]],
        "phases_broken_header": ["phases", at["broken header"]],
        "phases_run": ["phases", at["run"]],
        "phases_damaged": ["phases", at["damaged"]],
        "phases_tensorboard": ["phases", at["log"]],
        "phases_figure": ["phases", at["plain"], "--figure", f"{out}.html"],
        "phases_bad_figure": ["phases", at["plain"], "--figure", out],
        "phases_classes": ["phases", at["plain"], "--classes", EVIL],
        "compare": ["compare", at["trained"], at["third"]],
        "compare_json": ["compare", at["trained"], at["third"], "--json"],
        "compare_with_untrained": ["compare", at["run"], at["trained"]],
        "tca": [*tca, "--figure", f"{out}-tca.html"],
        "tca_json": [*tca, "--json"],
        "tca_no_such_layer": [*tca, "--layer", f"{EVIL}?"],
        "tca_no_layer": ["tca", at["run"]],
        "tca_ranks": ["tca", at["run"], "--ranks", EVIL],
        "analyze": ["analyze", at["checkpoints"], *on_cpu, "--out", f"{out}-run"],
        "analyze_again": ["analyze", at["checkpoints"], *on_cpu, "--out", f"{out}-run", "--json"],
        "analyze_other_module": ["analyze", at["checkpoints"], *on_cpu, "--module", f"{EVIL}:{EVIL}"],
        "analyze_no_pattern": ["analyze", at["checkpoints"], *on_cpu, "--step-pattern", f"({EVIL}"],
        "analyze_nothing": ["analyze", out],
        "analyze_run": ["analyze", at["run"], *on_cpu],
        "export": ["export", at["run"], "--to", "csv", "-o", f"{out}-export"],
        "export_again": ["export", at["run"], "--to", "csv", "-o", f"{out}-export"],
        "sync": ["sync", at["synced"]],
        "sync_training": ["sync", at["run"]],
        "sync_nowhere": ["sync", at["trained"], "--entity", EVIL],
        "wandb_workspace": ["wandb-workspace", "--entity", EVIL, "--project", EVIL, "--name", EVIL, "--json"],
        "check_neutral": ["check-neutral", f"{EVIL}:{EVIL}"],
        "watch_nothing": ["watch", out],
        "watch_host": ["watch", at["run"], "--host", EVIL],
        "demo": ["demo", "--out", at["trained"]],
    }


def _places(folder: Path) -> dict[str, Path]:
    """Where everything is. Libraries in Rust and C++ open no path with bytes that are no text."""
    texts = ("trained", "third", "synced", "log")
    bytes_too = ("damaged", "checkpoints", "plain", "bad cell", "foreign columns", "broken header", "out")
    found = {name: folder / f"{name}{EVIL}" for name in texts} | {name: folder / f"{name}{EVIL_NAME}" for name in bytes_too}
    tables = {name: found[name].with_name(f"{found[name].name}.csv") for name in bytes_too[2:6]}
    return {**found, **tables, "run": folder / HOSTILE_NAME.replace(ESCAPES, EVIL)}


def steering(output: bytes, *, terminal: bool = False) -> list[str]:
    """Characters of an output that a terminal would obey or not show, each once; line feeds are not meant.

    Args:
        output: What was printed.
        terminal: Whether bars and colours are drawn there; what those need is not meant either.
    """
    text = output.decode("utf-8", errors="surrogateescape")
    text = _DRAWING.sub("", text) if terminal else text
    return sorted({repr(char) for char in text if char != "\n" and not char.isprintable()})


def forged_lines(output: bytes) -> list[str]:
    """Lines that begin as a stranger would have them."""
    lines = _DRAWING.sub("\n", output.decode("utf-8", errors="surrogateescape")).splitlines()
    return [line for line in lines if line.startswith(FORGED)]


def _train(path: Path) -> None:
    """A run with activations and phases under such names; nothing was trained."""
    found = timeline()
    phases = (*found.phases[:-1], Phase(EVIL, 5000, None, 0.5, (5000, 5000)))
    layers = {
        EVIL: activations(STEPS),
        "act": activations(STEPS, seed=1),
        f"flat{EVIL}": [x * 0 for x in activations(STEPS)],
    }
    evidence = {**found.evidence, "reason": EVIL, "unknown": [EVIL]}
    write_run(path, found=replace(found, verdict=EVIL, phases=phases, evidence=evidence), layers=layers)
    write_manifest(path, replace(read_manifest(path), status="finished", module_class=EVIL, run_id=EVIL))


def _save_checkpoints(folder: Path) -> None:
    """Checkpoints with such names and tensors, one of another shape, and some that are none."""
    folder.mkdir()
    for step in (0, 5, 10):
        tensors = {"weight": torch.randn(3, 2), EVIL: torch.randn(2, 2 + step // 10), f"odd{EVIL}": torch.ones(0)}
        torch.save({"state_dict": tensors, "global_step": step}, folder / f"{EVIL_NAME} step={step}.ckpt")
    torch.save({"state_dict": {EVIL: [EVIL]}, EVIL: EVIL}, folder / f"{EVIL_NAME} step=20.ckpt")
    (folder / f"{EVIL_NAME} step=30.ckpt").write_bytes(b"no zip")
    (folder / f"{EVIL_NAME}.ckpt").write_bytes(b"no step")


def _write_table(path: Path, header: tuple[str, ...], last: object) -> None:
    """A metrics file; `last` is the last value of each row."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = ([step, *(1 / (1 + step) for _ in header[1:-1]), last] for step in range(0, 600, 20))
        csv.writer(file).writerows([header, *rows])


def _log_to_tensorboard(folder: Path) -> None:
    with SummaryWriter(folder) as writer:
        for step in range(0, 600, 20):
            writer.add_scalar("train_loss", 1 / (1 + step), step)
            writer.add_scalar(EVIL, 1.0, step)


def runner() -> list[str]:
    """The command that runs a kit."""
    return [sys.executable, "-c", RUNNER]
