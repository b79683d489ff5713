# SPDX-License-Identifier: Apache-2.0
"""Commands that run in a folder somebody else filled, and trainings beside files with the names of modules.

Nothing of such a folder is run but what the user names, and an analyzer works beside any of it.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hostile_folder import MODULES, fill, noting

from lightning_interp import open_run

PROGRAM = str(Path(sys.executable).parent / "lightning-interp")
COMMANDS = {
    "phases of a table": ["phases", "metrics.csv", "--figure", "phases.html"],
    "phases of a W&B run": ["phases", "run-20260101_000000-abcdefgh.wandb"],
    "analyze here": ["analyze", "."],
    "analyze in processes": ["analyze", ".", "--workers", "2"],
    "analyze by Ray": ["analyze", ".", "--engine", "ray", "--workers", "2"],
    "analyze with a module": ["analyze", ".", "--workers", "2", "--module", "net:build"],
    "analyze a run": ["analyze", "run/reference"],
    "tca": ["tca", "run/reference"],
    "status": ["status", "run/reference"],
    "compare": ["compare", "run/reference", "run/reference"],
    "report": ["report", "run/reference"],
    "export": ["export", "run/reference", "--to", "zarr", "-o", "out"],
    "sync": ["sync", "run/reference", "--offline", "--project", "p"],
    "wandb-workspace": ["wandb-workspace", "--entity", "e", "--project", "p", "--json"],
    "check-neutral": ["check-neutral", "net:build", "--steps", "1"],
    "demo": ["demo", "--max-steps", "3"],
}
BAD_INPUT = {"phases of a W&B run": "W&B cannot read it", "tca": "no activations are stored", "check-neutral": "must return"}
"""Commands that find something wrong, and what: by then they had asked W&B, the store, and a training process."""
NOT_LEARNED = {"demo"}
"""Commands that say by exit code 1 that the training was too short."""


def run_there(folder: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [PROGRAM, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=200, check=False
    )


def executed(marker: Path) -> set[str]:
    return set(marker.read_text().split()) if marker.exists() else set()


def test_the_planted_modules_would_run_if_the_folder_were_searched(tmp_path):
    folder, marker = tmp_path / "downloaded", tmp_path / "marker"
    fill(folder, marker)

    subprocess.run([sys.executable, "-c", "import queue"], cwd=folder, capture_output=True, check=False)

    assert executed(marker) == {"queue"}
    assert len(MODULES) >= 20


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_runs_nothing_of_the_folder_it_is_run_in(tmp_path, name):
    folder, marker = tmp_path / "downloaded", tmp_path / "marker"
    fill(folder, marker)

    done = run_there(folder, COMMANDS[name])

    assert executed(marker) == set(), done.stderr
    assert done.returncode == (2 if name in BAD_INPUT else 1 if name in NOT_LEARNED else 0), done.stderr
    assert BAD_INPUT.get(name, "") in done.stderr


def test_the_live_page_runs_nothing_of_the_folder_it_is_started_in(tmp_path):
    folder, marker = tmp_path / "downloaded", tmp_path / "marker"
    fill(folder, marker)
    command = [PROGRAM, "watch", ".", "--port", "0", "--no-browser"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=30)

    assert "http://127.0.0.1" in line
    assert executed(marker) == set()


def test_a_named_module_comes_from_the_folder_in_every_process(tmp_path):
    folder, marker = tmp_path / "downloaded", tmp_path / "marker"
    fill(folder, marker)

    done = run_there(folder, ["analyze", ".", "--module", "net:build", "--workers", "2", "--out", "found"])

    assert done.returncode == 0, done.stderr
    assert open_run(folder / "found").manifest.module_class == "torch.nn.modules.linear.Linear"


CHECKED = """
import lightning as L
import torch
from beside import LEARNING_RATE
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), LEARNING_RATE)


def build():
    data = DataLoader(TensorDataset(torch.randn(16, 4), torch.arange(16) % 2), 4)
    return L.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False), Net(), data
"""
OFFERED = "[lightning.pytorch.callbacks_factory]\nplanted = planted:offered\n"


def test_check_neutral_searches_the_folder_for_the_factory_alone(tmp_path):
    """What Lightning looks for later, entry points and packages that are not installed, is not looked for there."""
    folder, marker = tmp_path / "project", tmp_path / "marker"
    (folder / "planted-1.0.dist-info").mkdir(parents=True)
    (folder / "planted-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n")
    (folder / "planted-1.0.dist-info" / "entry_points.txt").write_text(OFFERED)
    for name in ("planted", "torch_xla"):
        (folder / f"{name}.py").write_text(noting(name, marker))
    (folder / "net.py").write_text(CHECKED)
    (folder / "beside.py").write_text("LEARNING_RATE = 0.1\n")

    done = run_there(folder, ["check-neutral", "net:build", "--steps", "3"])

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("neutral: 0 bits differ")
    assert executed(marker) == set()


def test_an_installed_package_comes_before_a_file_of_the_same_name_and_says_so(tmp_path):
    folder = tmp_path / "project"
    fill(folder, tmp_path / "marker")

    done = run_there(folder, ["analyze", ".", "--module", "fsspec:build"])

    assert done.returncode == 2
    assert "'fsspec' has no 'build'" in done.stderr
    assert "comes after it: rename yours, or set PYTHONPATH=" in done.stderr.replace("\n", " ")


NET_OF_A_PROJECT = """
import lightning as L
import torch
from torch import nn


class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, x):
        return self.layers(x)

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)
"""
DATA = """
import sys
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x = torch.randn(64, 4)
data = DataLoader(TensorDataset(x, (x.sum(1) > 0).long()), 16)
"""
TRAINER = (
    DATA
    + """
import lightning as L
from lightning_interp import InterpMonitor
from net import Net

trainer = L.Trainer(max_steps=20, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                    enable_model_summary=False,
                    callbacks=[InterpMonitor(sys.argv[1], every_n_steps=5, tca=True, close_timeout=150)])
trainer.fit(Net(), data, data)
"""
)
LOOP = (
    DATA
    + """
from lightning_interp import Monitor
from plain import Net

net = Net()
monitor = Monitor(sys.argv[1], every_n_steps=5, tca=True, close_timeout=150)
optimizer = torch.optim.SGD(net.parameters(), 0.1)
with monitor.watch(net, train_data=data, heldout_data=data):
    for _ in range(5):
        for inputs, targets in data:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(inputs), targets).backward()
            optimizer.step()
            monitor.step()
"""
)
PLAIN = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, x):
        return self.layers(x)
"""
ANYWHERE = ("random", "queue", "types", "copyreg", "rich", "wandb", "multiprocessing", "resource", "ruptures")


@pytest.mark.parametrize(
    ("script", "beside_script", "started_in", "pythonpath"),
    [
        (LOOP, ("rich", "ruptures", "resource", "plotly"), ANYWHERE, ""),
        (TRAINER, ("ruptures", "resource"), ANYWHERE, ""),
        (
            TRAINER,
            (),
            ("ruptures", "resource"),
            ".",
        ),  # first on the training's path, too: more would end the training itself
    ],
    ids=["loop beside rich.py", "started in a folder of them", "a folder on PYTHONPATH"],
)
def test_a_training_beside_modules_that_raise_is_fully_analyzed(tmp_path, script, beside_script, started_in, pythonpath):
    """Files beside the script are needed to unpickle the module; none of them may come before what we import."""
    project, here, marker = tmp_path / "project", tmp_path / "here", tmp_path / "marker"
    for folder, names in ((project, beside_script), (here, started_in)):
        folder.mkdir()
        for name in names:
            (folder / f"{name}.py").write_text(
                f"open({os.fspath(marker)!r}, 'a').write('{name} ')\nraise RuntimeError({name!r})\n"
            )
    for name, text in (("train", script), ("net", NET_OF_A_PROJECT), ("plain", PLAIN)):
        (project / f"{name}.py").write_text(text)

    done = subprocess.run(
        [sys.executable, str(project / "train.py"), str(tmp_path / "run")],
        cwd=here,
        env={**os.environ, "PYTHONPATH": pythonpath},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    run = open_run(tmp_path / "run")
    assert len(run.steps) >= 3  # a busy machine may drop some
    assert run.records("train_loss")[0].tolist() == run.steps, (tmp_path / "run" / "analyzer.log").read_text()
    assert run.components("layers.1") is not None
    assert executed(marker) == set()


COMPLETE = """
import sys

from lightning_interp.analysis.preload import import_all

import_all()
before = set(sys.modules)
from lightning_interp import analyze_run
asked = set(sys.modules) - before
sys.path.append(sys.argv[2])
from plain import Net

finished = analyze_run(sys.argv[1], module=Net)
assert finished.observed, "nothing was left to analyze"
print(*sorted(set(sys.modules) - before - asked - {"plain"}))
"""


def test_an_analysis_imports_nothing_that_was_not_imported_before(tmp_path):
    """What is imported later would be looked for on the training's path."""
    for name, text in (("train", LOOP), ("plain", PLAIN)):
        (tmp_path / f"{name}.py").write_text(text)
    trained = [sys.executable, str(tmp_path / "train.py"), str(tmp_path / "run")]
    subprocess.run(trained, capture_output=True, timeout=200, check=True)
    for name in ("records.jsonl", "phases.json", "analysis.json"):
        (tmp_path / "run" / name).unlink()

    command = [sys.executable, "-P", "-c", COMPLETE, str(tmp_path / "run"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
