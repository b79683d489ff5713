# SPDX-License-Identifier: Apache-2.0
"""Commands that run in a folder somebody else filled, and trainings beside files with the names of modules.

Nothing of such a folder is run but what the user names, and an analyzer works beside any of it.
"""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import commands_in_turn
import pytest
from hostile_folder import MODULES, fill, noting

from lightning_interp import open_run

PROGRAM = str(Path(sys.executable).parent / "lightning-interp")
READERS = {
    "phases of a table": ["phases", "metrics.csv", "--figure", "phases.html"],
    "phases of a W&B run": ["phases", "run-20260101_000000-abcdefgh.wandb"],
    "analyze here": ["analyze", "."],
    "analyze a run": ["analyze", "run/reference"],
    "tca": ["tca", "run/reference"],
    "status": ["status", "run/reference"],
    "compare": ["compare", "run/reference", "run/reference"],
    "report": ["report", "run/reference"],
    "export": ["export", "run/reference", "--to", "zarr", "-o", "out"],
    "sync": ["sync", "run/reference", "--offline", "--project", "p"],
    "wandb-workspace": ["wandb-workspace", "--entity", "e", "--project", "p", "--json"],
}
"""Commands that start no python of ours: one process gives them all."""
STARTERS = {
    "analyze by Ray": ["analyze", ".", "--engine", "ray", "--out", "by-ray"],
    "analyze in processes, with a module": ["analyze", ".", "--workers", "2", "--module", "net:build", "--out", "found"],
    "demo": ["demo", "--max-steps", "3"],
}
"""Commands that start processes of ours, each given as a user gives it; the trainings of `check-neutral` are below."""
BAD_INPUT = {"phases of a W&B run": "W&B cannot read it", "tca": "no activations are stored"}
"""Commands that find something wrong, and what: by then they had asked W&B and the store."""
ONLY_VERIFIED = {"demo": pytest.mark.verify}
"""The demo to its end; up to Ctrl-C it is watched in such a folder by the tests of the demo."""
NOT_LEARNED = {"demo"}
"""Commands that say by exit code 1 that the training was too short."""


def run_there(folder: Path, arguments: list[str], program: str = PROGRAM) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=200, check=False
    )


def executed(marker: Path) -> set[str]:
    return set(marker.read_text().split()) if marker.exists() else set()


def test_the_planted_modules_would_run_if_the_folder_were_searched(tmp_path):
    folder, marker = tmp_path / "downloaded", tmp_path / "marker"
    fill(folder, marker)

    subprocess.run([sys.executable, "-c", "import queue"], cwd=folder, capture_output=True, check=False)

    assert executed(marker) == {"queue"}
    assert len(MODULES) >= 20


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    """What became of each command that starts no python of ours."""
    root = tmp_path_factory.mktemp("readers")
    folder, marker, commands = root / "downloaded", root / "marker", root / "commands.json"
    fill(folder, marker)
    commands.write_text(json.dumps(READERS))
    return json.loads(run_there(folder, [commands_in_turn.__file__, str(commands), str(marker)], sys.executable).stdout)


@pytest.mark.parametrize("name", READERS)
def test_a_command_that_reads_runs_nothing_of_the_folder_it_is_run_in(readers, name):
    told = readers[name]
    assert told["executed"] == [], told["err"]
    assert told["code"] == (2 if name in BAD_INPUT else 0), told["err"]
    assert BAD_INPUT.get(name, "") in told["err"]


def test_the_program_runs_nothing_of_the_folder_it_is_run_in(tmp_path):
    folder, marker = tmp_path / "downloaded", tmp_path / "marker"
    fill(folder, marker)

    done = run_there(folder, READERS["status"])

    assert (executed(marker), done.returncode) == (set(), 0), done.stderr


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Gives a command in a folder of its own, the first time it is asked for: the folder, and what became of it."""

    @functools.cache
    def give(name):
        root = tmp_path_factory.mktemp("started")
        fill(root / "downloaded", root / "marker")
        return root, run_there(root / "downloaded", STARTERS[name])

    return give


@pytest.mark.parametrize("name", [pytest.param(name, marks=ONLY_VERIFIED.get(name, ())) for name in STARTERS])
def test_a_command_that_starts_processes_runs_nothing_of_the_folder_it_is_run_in(started, name):
    root, done = started(name)
    assert executed(root / "marker") == set(), done.stderr
    assert done.returncode == (1 if name in NOT_LEARNED else 0), done.stderr


def test_a_named_module_comes_from_the_folder_in_every_process(started):
    root, done = started("analyze in processes, with a module")
    assert done.returncode == 0, done.stderr
    assert open_run(root / "downloaded" / "found").manifest.module_class == "torch.nn.modules.linear.Linear"


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
        if LEARNING_RATE == 0.0:
            raise ArithmeticError("the training has begun")
        return nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), LEARNING_RATE)


def build():
    data = DataLoader(TensorDataset(torch.randn(16, 4), torch.arange(16) % 2), 4)
    return L.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False), Net(), data
"""
OFFERED = "[lightning.pytorch.callbacks_factory]\nplanted = planted:offered\n"


LEARNING_RATES = {"up to the first step": 0.0, "to the end": 0.1}


@pytest.mark.parametrize("trained", ["up to the first step", pytest.param("to the end", marks=pytest.mark.verify)])
def test_check_neutral_searches_the_folder_for_the_factory_alone(tmp_path, trained):
    """What Lightning looks for later, entry points and packages that are not installed, is not looked for there.

    Nor does any of its trainings run what else the folder holds.
    """
    folder, marker = tmp_path / "project", tmp_path / "marker"
    fill(folder, marker)
    (folder / "planted-1.0.dist-info").mkdir(parents=True)
    (folder / "planted-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n")
    (folder / "planted-1.0.dist-info" / "entry_points.txt").write_text(OFFERED)
    for name in ("planted", "torch_xla"):
        (folder / f"{name}.py").write_text(noting(name, marker))
    (folder / "net.py").write_text(CHECKED)
    (folder / "beside.py").write_text(f"LEARNING_RATE = {LEARNING_RATES[trained]}\n")

    done = run_there(folder, ["check-neutral", "net:build", "--steps", "3"])

    assert executed(marker) == set()
    if trained == "to the end":
        assert done.stdout.startswith("neutral: 0 bits differ"), done.stderr
    else:
        assert "the training has begun" in done.stderr


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


TRAININGS = {
    "loop beside rich.py": (LOOP, ("rich", "ruptures", "resource", "plotly"), ANYWHERE, ""),
    # first on the training's path: more would end the training itself
    "trainer, the folder on PYTHONPATH": (TRAINER, ("ruptures", "resource"), ("ruptures", "resource"), "."),
}
"""Script, modules beside it that raise, those in the folder it is started in, and PYTHONPATH."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Trains beside modules that raise, once for each name: the folder it was in, and what became of it."""

    @functools.cache
    def train(name):
        script, beside_script, started_in, pythonpath = TRAININGS[name]
        root = tmp_path_factory.mktemp("trained")
        for folder, names in ((root / "project", beside_script), (root / "here", started_in)):
            folder.mkdir()
            for planted in names:
                (folder / f"{planted}.py").write_text(noting(planted, root / "marker"))
        for file, text in (("train", script), ("net", NET_OF_A_PROJECT), ("plain", PLAIN)):
            (root / "project" / f"{file}.py").write_text(text)
        command = [sys.executable, str(root / "project" / "train.py"), str(root / "run")]
        return root, subprocess.run(
            command,
            cwd=root / "here",
            env={**os.environ, "PYTHONPATH": pythonpath},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    return train


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_beside_modules_that_raise_is_fully_analyzed(trained, name):
    """Files beside the script are needed to unpickle the module; none of them may come before what we import."""
    root, done = trained(name)
    assert done.returncode == 0, done.stderr
    run = open_run(root / "run")
    assert len(run.steps) >= 3  # a busy machine may drop some
    assert run.records("train_loss")[0].tolist() == run.steps, (root / "run" / "analyzer.log").read_text()
    assert run.components("layers.1") is not None
    assert executed(root / "marker") == set()


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


def test_an_analysis_imports_nothing_that_was_not_imported_before(trained, tmp_path):
    """What is imported later would be looked for on the training's path."""
    root, _ = trained("loop beside rich.py")
    shutil.copytree(root / "run", tmp_path / "run")
    shutil.copy(root / "project" / "plain.py", tmp_path)
    for name in ("records.jsonl", "phases.json", "analysis.json"):
        (tmp_path / "run" / name).unlink()

    command = [sys.executable, "-P", "-c", COMPLETE, str(tmp_path / "run"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
