# SPDX-License-Identifier: Apache-2.0
"""The `check-neutral` command on real trainings, each of which is a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import noisy_training
import pytest

from lightning_interp.cli.check_neutral import EXIT_CODES, report_lines
from lightning_interp.cli.main import main
from lightning_interp.neutrality import Difference, NeutralityReport, check_neutral
from lightning_interp.neutrality.process import LOG

STEPS = 6
FACTORIES = """
import os

import torch
from noisy_training import quiet_trainer
from small_training import Classifier, data
from torch.utils.data import DataLoader

from lightning_interp import InterpMonitor


class Disturbed(Classifier):
    '''Draws one number after its fourth step where a monitor is near.'''

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if self.global_step == 4 and any(isinstance(c, InterpMonitor) for c in self.trainer.callbacks):
            torch.rand(1)


class Noisy(Disturbed):
    '''Whose weights show what was drawn.'''

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * (1 + torch.rand(()))


def parts(module, *callbacks):
    trainer = quiet_trainer(".", list(callbacks), max_epochs=50, min_steps=100)
    return trainer, module, DataLoader(data(), batch_size=32)


def undisturbed():
    return parts(Classifier(), InterpMonitor("own_run", every_n_steps=2, close_timeout=200, max_overhead=1.0))


def disturbed():
    return parts(Disturbed())


def noisy():
    return parts(Noisy())


def random():
    torch.manual_seed(int.from_bytes(os.urandom(4), "big"))
    return parts(Classifier())
"""


@pytest.fixture(autouse=True)
def factories(tmp_path, monkeypatch):
    (tmp_path / "factories_of_this_test.py").write_text(FACTORIES)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(sys, "path", [*sys.path])


def check(name, *options):
    return main(["check-neutral", f"factories_of_this_test:{name}", "--steps", str(STEPS), *options])


def test_undisturbed_training_is_neutral(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    report = check_neutral("factories_of_this_test:undisturbed", steps=STEPS)
    assert (report.verdict, report.steps, report.moments, report.tensors) == ("neutral", STEPS, STEPS + 2, 4)
    assert 2 <= report.observed <= 4  # of steps 0, 2, 4, 6; the writer has room for three at least
    assert not (tmp_path / "own_run").exists()


def test_disturbed_training_is_reported_with_its_first_step(capsys):
    assert check("disturbed", "--json") == 1
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert (report["schema"], report["verdict"], report["control"]) == (1, "differs", [])
    # The module's hook comes after the last callback's, so the draw shows at the next comparison.
    assert report["differences"][0] == {"step": 5, "kind": "random state", "name": "torch", "largest": None}
    assert "first difference: step 5, random state torch" in captured.err


@pytest.mark.verify
def test_difference_of_tensors_is_measured(capsys):
    assert check("noisy", "--json") == 1
    report = json.loads(capsys.readouterr().out)
    first = next(found for found in report["differences"] if found["kind"] == "tensor")
    assert (first["step"], first["name"]) == (5, "net.0.weight")
    assert 0 < first["largest"] < 0.1  # Adam moves no weight by much more than its rate, .01


def test_random_training_cannot_be_judged(capsys):
    assert check("random") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "cannot be judged: two trainings without the monitor differ at step 0" in captured.err


def test_bad_factory_is_named_before_anything_is_trained(capsys):
    assert main(["check-neutral", "no_such_package:build"]) == 2
    assert capsys.readouterr().err == (
        "error: factory: cannot import 'no_such_package' (no module 'no_such_package'). "
        "Run from the folder that holds it, or install it.\n"
    )


@pytest.mark.parametrize("option", ["--steps", "--every"])
def test_options_out_of_range_are_refused(option, capsys):
    assert main(["check-neutral", "mod:build", option, "0"]) == 2
    assert "expected a whole number from 1 on, got '0'" in capsys.readouterr().err


def test_help_imports_no_torch():
    code = (
        "import sys; from lightning_interp.cli.main import main; code = main(['check-neutral', '--help']); "
        "sys.exit(code or 'torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown.returncode == 0
    assert "lightning-interp check-neutral my_project.check:build" in shown.stdout


def report(**found):
    return NeutralityReport(steps=300, moments=302, tensors=47, optimizer_tensors=12, random_states=3, **found)


def test_text_of_a_neutral_training_says_what_was_compared():
    assert report_lines(report(observed=40)) == [
        "neutral: 0 bits differ (300 steps, 47 tensors, training outputs and 3 random states compared 302 times, "
        "12 optimizer entries at the end; the monitor analyzed 40 steps meanwhile)"
    ]


def test_training_the_monitor_did_not_watch_is_no_proof():
    assert report().verdict == "not_watched" and EXIT_CODES["not_watched"] == 2
    assert "the monitor analyzed no step" in report_lines(report())[0]


def test_sigterm_leaves_no_scratch_folder(tmp_path):
    support = str(Path(noisy_training.__file__).parent)
    environment = os.environ | {"TMPDIR": str(tmp_path / "scratch"), "PYTHONPATH": support}
    (tmp_path / "scratch").mkdir()
    command = [sys.executable, "-m", "lightning_interp.cli.main", "check-neutral", "factories_of_this_test:undisturbed"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 150
            while not list((tmp_path / "scratch").glob(f"interp-neutral-*/*/{LOG}")):  # until a training has been started
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=100)
        finally:
            process.kill()
    assert process.returncode == 143
    assert list((tmp_path / "scratch").glob("interp-neutral-*")) == []


def test_text_of_a_difference_gives_step_name_and_size():
    lines = report_lines(
        report(differences=(Difference(20, "tensor", "net.0.weight", 3e-8), Difference(20, "output", "loss")))
    )
    assert lines[0] == "first difference: step 20, tensor net.0.weight (largest absolute difference 3e-08)"
    assert lines[1] == "then: step 20, output loss"


def test_text_of_many_differences_is_cut():
    lines = report_lines(report(differences=tuple(Difference(1, "tensor", str(i)) for i in range(30))))
    assert "and 17 more; --json lists all" in lines
