# SPDX-License-Identifier: Apache-2.0
"""Files as their own writers leave them, to be changed: metrics of ten writers, checkpoints of seven layouts, a run."""

import gzip
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

ROWS = [(step, 3 / (1 + step), 3.5 / (1 + step / 3), min(1.0, step / 20)) for step in range(0, 60, 2)]
"""Step, train loss, held-out loss, held-out accuracy."""


def make_metrics(folder: Path) -> None:
    """Metrics files, a file or folder for each writer."""
    table = "step,train_loss,val_loss,val_acc\n" + "".join(",".join(map(str, row)) + "\n" for row in ROWS)
    (folder / "metrics.csv").write_text(table)
    (folder / "epochs.csv").write_text(table.replace("step,train_loss", "epoch,loss"))
    (folder / "runs.csv").write_text(table.replace("train_loss,val_loss", "a - train_loss,a - val_loss"))
    (folder / "comma.csv").write_text(table.replace(",", ";").replace(".", ","))
    (folder / "metrics.csv.gz").write_bytes(gzip.compress(table.encode(), mtime=0))
    rows = "".join(f"0,{s},{t},\n0,{s},,{v}\n" for s, t, v, _ in ROWS)
    (folder / "lightning.csv").write_text("epoch,step,train_loss_step,val_loss\n" + rows)
    lines = [{"step": s, "loss": {"train": t, "val": v}, "acc": a} for s, t, v, a in ROWS]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    log = [{"step": s, "loss": t} for s, t, _, _ in ROWS] + [{"step": s, "eval_loss": v} for s, _, v, _ in ROWS]
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 58, "log_history": log}, indent=1))
    history = {"loss": [t for _, t, _, _ in ROWS], "val_loss": [v for _, _, v, _ in ROWS]}
    (folder / "history.json").write_text(json.dumps(history))
    for name, at in (("train_loss", 1), ("val_loss", 2)):
        series = folder / "mlflow" / "metrics" / name
        series.parent.mkdir(parents=True, exist_ok=True)
        series.write_text("".join(f"17000000000{row[0]:02d} {row[at]} {row[0]}\n" for row in ROWS))
    _tensorboard(folder)
    _wandb(folder)


@contextmanager
def _at_one_time() -> Iterator[None]:
    """Meanwhile it is always the same time, so that what is written does not differ from call to call."""
    with mock.patch.object(time, "time", return_value=1.7e9):
        yield


def _tensorboard(folder: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    for name in ("tb", "tb_new"):
        with _at_one_time(), SummaryWriter(str(folder / name)) as writer:
            for step, train, val, _ in ROWS:
                writer.add_scalar("train_loss", train, int(step), new_style=name == "tb_new")
                writer.add_scalar("val_loss", val, int(step), new_style=name == "tb_new")
        written = next((folder / name).iterdir())
        written.rename(folder / name / "events.out.tfevents.1700000000.host.1.0")


def _wandb(folder: Path) -> None:
    import wandb

    from lightning_interp.sources.metrics.wandb_run import can_read

    if not can_read():
        return
    settings = wandb.Settings(mode="offline", silent=True, console="off", x_disable_stats=True)
    run = wandb.init(project="fuzz", id="a1b2c3d4", dir=str(folder), settings=settings)
    for step, train, val, _ in ROWS:
        run.log({"train_loss": train, "val_loss": val, "trainer/global_step": int(step)})
    run.finish()
    shutil.copy(run.settings.sync_file, folder / "run.wandb")
    shutil.rmtree(folder / "wandb")


def make_checkpoints(folder: Path) -> None:
    """Three steps of a small network in each layout, a folder each."""
    import torch
    from safetensors.torch import save_file

    for layout in ("plain", "lightning", "shared", "flat", "index", "bin", "kinds"):
        (folder / layout).mkdir()
    for step in (0, 10, 20):
        torch.manual_seed(step)
        state = {"a.weight": torch.randn(6, 4), "a.bias": torch.randn(6), "b.weight": torch.randn(2, 6)}
        optimizer = {"state": {0: {"exp_avg": torch.randn(6, 4)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
        lightning = {"state_dict": state, "optimizer_states": [optimizer], "global_step": step, "epoch": 0, "callbacks": {}}
        torch.save(state, folder / "plain" / f"step{step}.pt")
        torch.save(lightning, folder / "lightning" / f"epoch=0-step={step}.ckpt")
        torch.save(
            {"model": state | {"tied": state["a.weight"], "view": state["b.weight"].t()[1:]}, "step": torch.tensor(step)},
            folder / "shared" / f"step{step}.pt",
        )
        save_file(state, folder / "flat" / f"step{step}.safetensors", metadata={"format": "pt"})
        kinds = {
            "a.weight": state["a.weight"].bfloat16(),
            "b.weight": torch.arange(12.0).reshape(3, 4).to(torch.float8_e5m2),
        }
        save_file(kinds | {"c.weight": state["b.weight"].half()}, folder / "kinds" / f"step{step}.safetensors")
        _parts(folder / "index" / f"checkpoint-{step}", state, "model", "safetensors")
        _parts(folder / "bin" / f"checkpoint-{step}", state, "pytorch_model", "bin")


def _parts(folder: Path, state: dict, stem: str, suffix: str) -> None:  # type: ignore[type-arg]
    """A checkpoint in two parts with an index, as transformers writes it."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    names = {name: f"{stem}-0000{1 if name == 'a.weight' else 2}-of-00002.{suffix}" for name in state}
    for part in sorted(set(names.values())):
        tensors = {name: tensor for name, tensor in state.items() if names[name] == part}
        save_file(tensors, folder / part) if suffix == "safetensors" else torch.save(tensors, folder / part)
    index = {"metadata": {"total_size": 168}, "weight_map": names}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "hidden_size": 4}))
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": int(folder.name.rpartition("-")[2])}))


def make_runs(folder: Path) -> None:
    """A run directory that holds everything a run can."""
    from damaged_run import make_whole_run

    make_whole_run(folder)
