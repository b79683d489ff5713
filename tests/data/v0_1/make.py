# SPDX-License-Identifier: Apache-2.0
"""How the data in this folder was made, by version 0.1.0 of the package: ``python tests/data/v0_1/make.py``, once.

It is here to be read and not to be run again: what later versions must read is what 0.1.0 wrote. It refuses where the data
is, and under any other version. All of it is made in the folder `WORK`, whose name is the only path in the files; the name
of the machine in heartbeat.json is replaced. W&B's own files are left out: their format is W&B's.

1. `finished`: 1,100 steps, logged to the offline W&B run `old0`; then resumed from the checkpoint of step 800, which
   takes back what lies beyond, to step 1,300. That second start, logged to `old1`, did not wait for its analysis, which
   went on after it: `old1` lacks the last rows.
2. `interrupted`: 600 steps, all snapshots written; then training and analyzer were killed in the middle of the analysis.
3. `checkpoints`: the one that the second start of `finished` made at step 1,200.
4. `cli/config.yaml`: as LightningCLI saved it.
5. `wandb_export`: `history.csv` is what `run.history()` gives of `old0`, `chart.csv` what W&B's page exports of a chart.
6. `expected.json`: what 0.1.0 reads in all that, and what its `analyze` makes of `interrupted`.
"""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SUPPORT = HERE.parents[1] / "support"
WORK = Path("/tmp/run")
VERSION = "0.1.0"

EVERY, RESUMED_AT, KEPT = 100, 800, "epoch=1199-step=1200.ckpt"
WAIT_S = 600.0
CLI = """
seed_everything: 0
trainer:
  accelerator: cpu
  max_steps: 6
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  enable_model_summary: false
  default_root_dir: cli
  callbacks:
    - class_path: lightning_interp.InterpMonitor
      init_args:
        dirpath: cli/run
        schedule:
          class_path: lightning_interp.EveryNSteps
          init_args: {n_steps: 2}
        parameters: ["net.*"]
        layers: "type:ReLU"
        measures: [losses, norms]
        tca:
          class_path: lightning_interp.TCA
          init_args: {layers: ["net.*"], ranks: "1:2", every: 2, restarts: 2}
        module: old_project.build
        max_overhead: 0.9
        max_disk: 100MB
        retention: last:20
        close_timeout: 100.0
        report: false
model: {hidden: 8, lr: 0.01}
data: {examples: 32}
"""


def train(directory: str, steps: int, *, resumed: str | None = None, run_id: str | None = None, **options: Any) -> None:
    """One start of the training, from scratch or from a checkpoint."""
    import lightning as L
    import torch
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import WandbLogger
    from old_project import OldClassifier, OldData
    from patient_monitor import keep_every_snapshot
    from wandb_records import SETTINGS

    from lightning_interp import TCA, InterpMonitor

    keep_every_snapshot()
    torch.manual_seed(1)
    tca = TCA(ranks="1:2", every=5, restarts=2, history=8)
    monitor = InterpMonitor(directory, every_n_steps=EVERY, tca=tca, max_overhead=0.9, **options)
    settings = SETTINGS | {"x_disable_meta": True, "x_disable_machine_info": True, "disable_git": True, "disable_code": True}
    logger = run_id and WandbLogger(project="old", save_dir=".", mode="offline", id=run_id, name=run_id, settings=settings)
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        check_val_every_n_epoch=50,
        logger=logger or False,
        callbacks=[monitor, ModelCheckpoint("checkpoints", every_n_train_steps=200, save_top_k=-1), held(directory, steps)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(OldClassifier(), OldData(), ckpt_path=resumed)
    if logger:
        logger.experiment.finish()


def held(directory: str, steps: int) -> Any:
    """A callback that holds the training at its last step until HELD_AT records are there, and halts the analyzer then."""
    from lightning.pytorch.callbacks import Callback

    class Held(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any, **__: Any) -> None:
            wanted = int(os.environ.get("HELD_AT", "0"))
            if trainer.global_step == steps and wanted:
                wait_for(lambda: records(directory) >= wanted or wake(directory))
                os.kill(analyzer(directory), signal.SIGSTOP)
                (WORK / "held").touch()
                time.sleep(float(os.environ.get("HELD_S", "0")))

    return Held()


def records(directory: str) -> int:
    """Lines of records.jsonl."""
    path = WORK / directory / "records.jsonl"
    return path.read_text(encoding="utf-8").count("\n") if path.exists() else 0


def analyzer(directory: str) -> int:
    """Process id of the analyzer."""
    return int(json.loads((WORK / directory / "heartbeat.json").read_text(encoding="utf-8"))["pid"])


def wake(directory: str) -> None:
    """Let the analyzer go on where the monitor halted it; while it starts, the heartbeat is that of the start before."""
    with suppress(FileNotFoundError, ProcessLookupError):
        os.kill(analyzer(directory), signal.SIGCONT)


def wait_for(there: Any) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + WAIT_S
    while not there():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.005)


def start(stage: str, **environment: str) -> "subprocess.Popen[bytes]":
    """One stage of this script in a process of its own."""
    return subprocess.Popen([sys.executable, str(HERE / "make.py"), stage], cwd=WORK, env=os.environ | environment)


def make_finished() -> None:
    """Two starts of one run; the second ends before its analysis."""
    assert start("first").wait() == 0
    begun = records("finished")
    assert start("second", HELD_AT=str(begun + 3)).wait() == 0
    wait_for(lambda: json.loads((WORK / "finished/analysis.json").read_text(encoding="utf-8"))["stage"] == "finished")


def make_interrupted() -> None:
    """Kill the training and its analyzer when half of the snapshots are analyzed."""
    (WORK / "held").unlink()
    process = start("third", HELD_AT="4", HELD_S="1000")
    wait_for((WORK / "held").exists)
    os.kill(analyzer("interrupted"), signal.SIGKILL)
    process.kill()
    process.wait()


def make_config() -> None:
    """LightningCLI saves its configuration where it trains."""
    (WORK / "given.yaml").write_text(CLI, encoding="utf-8")
    command = [sys.executable, str(SUPPORT / "old_project.py"), "fit", "--config", "given.yaml"]
    subprocess.run(command, cwd=WORK, env=os.environ | {"PYTHONPATH": f"{SUPPORT}:{os.environ['PYTHONPATH']}"}, check=True)


def export_history(target: Path) -> None:
    """The first W&B run as CSV: the whole history, and one chart of it."""
    from wandb_records import WandbRecords

    (folder,) = (WORK / "wandb").glob("offline-run-*-old0")
    rows = [whole(row) for row in WandbRecords(folder).history]
    columns = sorted({name for row in rows for name in row})
    write_csv(target / "history.csv", columns, [[row.get(name, "") for name in columns] for row in rows])
    names = ["interp/train_loss", "interp/heldout_loss", "interp/train_accuracy", "interp/heldout_accuracy"]
    chart = [column for name in names for column in (f"old0 - {name}", f"old0 - {name}__MIN", f"old0 - {name}__MAX")]
    drawn = [[row["interp/step"], *(row[name] for name in names for _ in range(3))] for row in rows if names[0] in row]
    write_csv(target / "chart.csv", ["interp/step", *chart], drawn)


def whole(row: dict[str, Any]) -> dict[str, Any]:
    """A row with figures as one cell each, as W&B gives them, in place of a cell for each key in them."""
    media = {key.rpartition(".")[0] for key in row if key.endswith("._type")}
    figures = {key: str({k.removeprefix(f"{key}."): v for k, v in row.items() if k.startswith(f"{key}.")}) for key in media}
    return {key: value for key, value in row.items() if key.rpartition(".")[0] not in media} | figures


def write_csv(path: Path, columns: list[str], rows: list[list[Any]]) -> None:
    """One table."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle, lineterminator="\n").writerows([columns, *rows])


def gather() -> None:
    """The parts that are kept, out of the working folder."""
    for name in ("finished", "interrupted"):
        shutil.copytree(WORK / name, HERE / name)
        beat = HERE / name / "heartbeat.json"
        beat.write_text(beat.read_text(encoding="utf-8").replace(socket.gethostname(), "localhost"), encoding="utf-8")
    for part, source in (("checkpoints", WORK / "checkpoints" / KEPT), ("cli", WORK / "cli" / "config.yaml")):
        (HERE / part).mkdir()
        shutil.copy(source, HERE / part)
    (HERE / "wandb_export").mkdir()


def expectations() -> dict[str, Any]:
    """What this version reads in the data, and what it makes of the interrupted run."""
    from old_project import build
    from run_facts import run_facts

    from lightning_interp.phases import detect_phases
    from lightning_interp.posthoc import analyze_run
    from lightning_interp.store.delivered import read_delivered
    from lightning_interp.store.metrics_file import read_metrics

    found: dict[str, Any] = {name: run_facts(HERE / name) for name in ("finished", "interrupted")}
    delivered = read_delivered(HERE / "finished")
    assert delivered is not None, "both starts had W&B"
    found["delivered"] = {target.run_id: target.step for target in delivered.wandb}
    found["chart_verdict"] = detect_phases(read_metrics(HERE / "wandb_export" / "chart.csv").series).verdict
    shutil.copytree(HERE / "interrupted", WORK / "analyzed")
    run = analyze_run(WORK / "analyzed", module=build, device="cpu").run
    names = ("weight_norm", "train_loss", "heldout_loss")
    found["analyzed"] = {name: run.records(name)[1].tolist() for name in names}
    assert run.timeline is not None, "it has records"
    found["analyzed"]["verdict"] = run.timeline.verdict
    return found


def main() -> None:
    """Make everything, in a folder of its own first."""
    assert metadata.version("lightning-interp") == VERSION, f"this data is that of {VERSION}"
    assert not (HERE / "finished").exists(), "written once, never again: a later version adds a folder of its own"
    WORK.mkdir()
    os.environ |= {"LIGHTNING_INTERP_REPORT": "0", "WANDB_MODE": "offline", "WANDB_DATA_DIR": str(WORK / "data")}
    make_finished()
    make_interrupted()
    make_config()
    gather()
    export_history(HERE / "wandb_export")
    (HERE / "expected.json").write_text(json.dumps(expectations()) + "\n", encoding="utf-8")


STAGES: dict[str, dict[str, Any]] = {
    "first": {"directory": "finished", "steps": 1100, "run_id": "old0"},
    "second": {
        "directory": "finished",
        "steps": 1300,
        "run_id": "old1",
        "resumed": f"checkpoints/epoch={RESUMED_AT - 1}-step={RESUMED_AT}.ckpt",
        "close_timeout": 0.0,
    },
    "third": {"directory": "interrupted", "steps": 600},
}

if __name__ == "__main__":
    sys.path.insert(0, str(SUPPORT))
    if len(sys.argv) > 1:
        train(**STAGES[sys.argv[1]])
    else:
        main()
