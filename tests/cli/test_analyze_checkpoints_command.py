# SPDX-License-Identifier: Apache-2.0
"""`analyze` of checkpoints: what is shown before work starts, what is named, what is printed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lightning_interp.cli.main import main
from lightning_interp.store import open_run
from lightning_interp.store.layout import RECORDS

PROJECT = """
import torch
from torch import nn
from lightning_interp import Probe, ProbeSplit

def build():
    return nn.Linear(3, 2)

def probe():
    return Probe(ProbeSplit(((torch.ones(4, 3), torch.tensor([0, 1, 0, 1])),)))
"""


def save(folder: Path, step: int, *, name: str | None = None) -> None:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(step)
    torch.save({"state_dict": nn.Linear(3, 2).state_dict(), "global_step": step}, folder / (name or f"step={step}.ckpt"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three checkpoints, and the project's code in the working directory."""
    (tmp_path / "project_of_this_test.py").write_text(PROJECT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for step in (0, 5, 10):
        save(tmp_path / "checkpoints", step)
    return tmp_path / "checkpoints"


def analyze(*arguments):
    return main(["analyze", *map(str, arguments), "--device", "cpu", "--out", "out"])


def test_steps_are_shown_before_work_starts(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")  # however long the name of the folder is
    assert analyze(folder) == 0
    shown = capsys.readouterr()
    told = shown.err.replace("\n", "")
    assert re.search(r"3 checkpoints to analyze in .*step +0 .*step=0\.ckpt +\(its own step\) .*step +10", told)
    assert "not measured, need --module and --probe: train_loss" in shown.err.replace("\n", " ")
    assert shown.out.startswith("verdict: unknown")


def test_module_and_probe_by_name_measure_everything(folder, capsys):
    names = ("--module", "project_of_this_test:build", "--probe", "project_of_this_test:probe")
    assert analyze(folder, *names, "--measures", "losses,norms", "--json") == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "unknown"
    run = open_run("out")
    assert run.records("train_loss")[0].tolist() == run.records("weight_norm")[0].tolist() == [0, 5, 10]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "add"], "expected OP:P"),
        (["--task", "pow:7"], "expected OP:P"),
        (["--workers", "0"], "workers: expected a whole number"),
        (["--step-pattern", "x"], "has 0 groups"),
        (["--module", "no_such_package:build"], "cannot import 'no_such_package'"),
        (["--probe", "nowhere"], "holds no probe"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(folder, capsys, arguments, message):
    assert analyze(folder, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_folder_without_checkpoints_is_bad_input(tmp_path, capsys):
    assert main(["analyze", str(tmp_path)]) == 2
    assert "no checkpoint there" in capsys.readouterr().err


def test_names_cannot_send_control_codes_to_the_terminal(folder, capsys):
    save(folder, 20, name="\x1b[31mred\x1b[0m step=20.ckpt")
    (folder / "\x1b]0;title\x07 step=30.ckpt").write_bytes(b"no zip")
    assert analyze(folder) == 0
    shown = capsys.readouterr()
    assert "\x1b" not in shown.err + shown.out and "\x07" not in shown.err
    assert "\\x1b[31mred" in shown.err.replace("\n", "")


LOOKING_OFTEN = """
import sys
from lightning_interp.cli import analyze_checkpoints
from lightning_interp.cli.main import main
analyze_checkpoints.LOOK_EVERY_S = 0.1
sys.exit(main())
"""


def test_a_followed_folder_is_analyzed_as_it_grows_until_interrupted(folder):
    command = [sys.executable, "-c", LOOKING_OFTEN, "analyze", str(folder), "--out", "out", "--follow"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: records() == 3)
        save(folder, 15)
        (folder / "step=25.ckpt").write_bytes((folder / "step=5.ckpt").read_bytes()[:300])  # as if still being written
        wait_for(lambda: records() >= 4)
        save(folder, 25)
        wait_for(lambda: 25 in open_run("out").series["weight_norm"][0] and open_run("out").analysis["stage"] == "finished")
        time.sleep(1.0)  # it says what it found before it waits again; in the middle of an analysis Ctrl-C breaks that off
    finally:
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.startswith("verdict: unknown")
    assert open_run("out").records("weight_norm")[0].tolist() == [0, 5, 10, 15, 25]


def records() -> int:
    path = Path("out") / RECORDS
    return path.read_text().count("\n") if path.exists() else 0


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def wait_for(holds) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(("after", "last"), [(0, 60), (5, 400)], ids=["while workers start", "while they work"])
def test_ctrl_c_ends_an_analysis_by_several_processes_cleanly(folder, after, last):
    for step in range(20, last):
        save(folder, step)
    command = [sys.executable, "-m", "lightning_interp.cli.main", "analyze", str(folder), "--out", "out", "--workers", "2"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: len(children(process.pid)) >= 3 and records() >= after)  # two workers, and who looks after them
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process of the group gets it
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err and err.rstrip().endswith("Interrupted.")
    assert after <= records() < last - 17
    assert main(["analyze", str(folder), "--out", "out", "--device", "cpu"]) == 0
    assert records() == last - 17


def test_what_a_module_prints_in_a_worker_steers_no_terminal(folder, capfd):
    module = Path("project_of_this_test.py")
    said = r"""print(f"built by {__import__('os').getpid()} \x1b]0;title\x07", flush=True)"""
    module.write_text(module.read_text().replace("    return nn", f"    {said}\n    return nn"))
    chosen = ("--module", "project_of_this_test:build", "--probe", "project_of_this_test:probe", "--workers", 2)
    assert analyze(folder, *chosen) == 0
    shown = capfd.readouterr()
    assert "\x1b" not in shown.out + shown.err
    builders = set(re.findall(r"built by (\d+) \\x1b\]0;title\\x07", shown.out))
    assert builders - {str(os.getpid())}, "a worker built the module, and what it printed was shown"


THREADS = """
import torch
from lightning_interp import Measure

torch.set_num_threads(3)  # as projects do where they are imported

class Threads(Measure):
    name, names, needs = "threads", ("threads",), frozenset({"weights"})

    def __call__(self, observation):
        return {"threads": float(torch.get_num_threads())}
"""


def test_a_worker_has_the_threads_asked_for_whatever_the_project_sets(folder):
    before = torch.get_num_threads()
    Path("threads_of_this_test.py").write_text(THREADS)
    assert analyze(folder, "--measures", "threads_of_this_test:Threads", "--workers", 2, "--threads", 2) == 0
    torch.set_num_threads(before)
    assert set(open_run("out").records("threads")[1]) == {2.0}


TIED = """
import torch
from torch import nn
from lightning_interp import Probe, ProbeSplit

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb, self.head = nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)
        self.head.weight = self.emb.weight

    def forward(self, x):
        return self.head(self.emb(x))

class Silent(nn.Linear):
    pass

def build():
    return Net()

def silent():
    return Silent(3, 2)

def probe():
    return Probe(ProbeSplit(((torch.arange(4), torch.arange(4)),)))

def wrong_probe():
    return Probe(train=[(torch.arange(4), torch.arange(4))])

def text_probe():
    return Probe(ProbeSplit(({"text": torch.ones(4, 3)},)))
"""


@pytest.fixture
def tied(tmp_path, monkeypatch):
    """Safetensors of a module with tied weights, of which they hold one name."""
    (tmp_path / "tied_project_of_this_test.py").write_text(TIED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for step in (0, 5):
        (tmp_path / f"run/checkpoint-{step}").mkdir(parents=True)
        torch.manual_seed(step)
        save_file({"head.weight": torch.randn(4, 3)}, tmp_path / f"run/checkpoint-{step}/model.safetensors")
    return tmp_path / "run"


def test_losses_are_measured_where_a_file_leaves_out_tied_weights(tied):
    names = ("--module", "tied_project_of_this_test:build", "--probe", "tied_project_of_this_test:probe")
    assert analyze(tied, *names, "--measures", "losses,norms") == 0
    run = open_run("out")
    expected = []
    for step in (0, 5):
        torch.manual_seed(step)
        weight = torch.randn(4, 3)
        expected.append(float(nn.functional.cross_entropy(weight @ weight.T, torch.arange(4))))
    assert run.records("train_loss")[1].tolist() == pytest.approx(expected, rel=1e-5)
    assert run.records("weight_norm")[1].tolist()[1] == pytest.approx(float(weight.norm()), rel=1e-5)


def test_a_probe_built_wrongly_is_bad_input(tied):
    names = ("--module", "tied_project_of_this_test:build", "--probe", "tied_project_of_this_test:wrong_probe")
    command = [sys.executable, "-m", "lightning_interp.cli.main", "analyze", str(tied), *names, "--out", "out"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}  # of its own: here types are checked
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "error: probe: `train` is a list, expected a ProbeSplit" in done.stderr
    assert not Path("out").exists()


def test_nothing_measured_is_bad_input(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for step in (1, 2):
        torch.save({"w": torch.tensor([float(step), torch.nan])}, tmp_path / f"step_{step}.pt")
    assert analyze(tmp_path) == 2
    assert "none of the checkpoints could be measured" in capsys.readouterr().err


def test_a_key_chooses_among_several_networks(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    for step in (0, 20):
        state = {"encoder_state_dict": {"a.w": torch.ones(3) + step}, "decoder_state_dict": {"b.w": torch.ones(2) + step}}
        torch.save({**state, "step": step, "loss": torch.tensor(2.0)}, tmp_path / f"ckpt_{step}.pt")
    assert analyze(tmp_path) == 2
    told = capsys.readouterr().err.replace("\n", " ")
    assert "'encoder_state_dict', 'decoder_state_dict'" in told
    assert "--key encoder_state_dict" in told
    assert analyze(tmp_path, "--key", "decoder_state_dict") == 0
    assert open_run("out").records("weight_norm")[1].tolist() == pytest.approx([2**0.5, 21 * 2**0.5])


def test_a_key_is_no_option_for_a_run_directory(folder, capsys):
    assert analyze(folder) == 0
    assert main(["analyze", "out", "--key", "model"]) == 2
    assert "--key names a state dict" in capsys.readouterr().err


def test_epochs_are_called_epochs(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    for epoch in range(3):
        torch.save({"w": torch.ones(3) + epoch}, tmp_path / f"epoch_{epoch}.ckpt")
    assert analyze(tmp_path) == 0
    told = capsys.readouterr().err.replace("\n", " ")
    assert re.search(r"epoch +2 .*epoch_2\.ckpt", told) and "Steps are epochs" in told


def test_the_way_to_outputs_is_asked_for_by_its_name_on_the_command_line(folder, tied, capsys, monkeypatch):
    names = ("--module", "tied_project_of_this_test:silent", "--probe", "tied_project_of_this_test:text_probe")
    assert analyze(folder, *names) == 0
    told = capsys.readouterr().err.replace("\n", " ")
    assert "--probe-step" in told


def test_odd_files_are_named_and_the_others_measured(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    os.mkfifo(folder / "step=20.ckpt")
    (folder / "step=30.ckpt").symlink_to("step=30.ckpt")
    (folder / "up").symlink_to("..")
    (folder / "step=40.ckpt").mkdir()
    (folder / "step=40.ckpt" / "__0_0.distcp").write_bytes(b"x")
    torch.save({"w": torch.ones(2), "step": 2**63}, folder / "huge.ckpt")
    assert analyze(folder) == 0
    told = capsys.readouterr().err.replace("\n", " ")
    words = ("a pipe, a device or a link to nothing", "a link to a folder above it", "dcp_to_torch")
    assert all(text in told for text in words)
    assert "its own step (step) is 9223372036854775808" in told
    assert open_run("out").records("weight_norm")[0].tolist() == [0, 5, 10]
