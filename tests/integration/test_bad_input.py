# SPDX-License-Identifier: Apache-2.0
"""Bad input ends in one clear message: before training where the fault is ours to see, beside it otherwise."""

import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_training import Classifier, NeedsTwoInputs, TurnsNaN, fit

from lightning_interp import InterpMonitor, ProbeOutputs, Run, open_run
from lightning_interp.core.errors import ConfigError


def run_of(monitor: InterpMonitor) -> Run:
    assert monitor.run_dir is not None
    return open_run(monitor.run_dir)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="lightning_interp")
    return caplog


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that can be filled or made read-only."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk]).returncode:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": "encoder.*"}, r"layers: 'encoder.\*' matches none .* Nearest: net"),
        ({"parameters": "head.*"}, r"parameters: 'head.\*' matches none .* Nearest: net"),
        ({"measures": ["train_los"]}, "'train_los' is unknown; nearest: train_loss"),
        ({"every_n_steps": 0}, "every_n_steps: expected a positive integer, got 0"),
        ({"background": "gpu"}, "background: expected one of process, thread, inline, got 'gpu'"),
        ({"device": "cuda:7"}, "device: 'cuda:7' is not there"),
        ({"probe_step": "nowhere:fn"}, "probe_step: cannot import 'nowhere'"),
        ({"module": "json:nothing"}, "module: 'json' has no 'nothing'"),
        ({"task": "add:13"}, r"task: expected a CyclicGroupTask\(p, op\)"),
        ({"close_timeout": -1}, "close_timeout: expected seconds, 0 or more"),
    ],
)
def test_setup_refuses_a_bad_argument_by_name(tmp_path: Path, arguments: dict, message: str) -> None:
    module = Classifier()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(ConfigError, match=message):
        fit(tmp_path, InterpMonitor(**arguments), module)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert not (tmp_path / "interp_runs").exists()


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no")  # Lightning says it, too
def test_no_validation_data_is_said_and_phases_stop_at_memorization(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    monitor = InterpMonitor(background="inline")
    fit(tmp_path, monitor, heldout=None, max_steps=200)
    assert "no validation data: phases end at memorization; give the trainer a validation loader" in said.text
    assert monitor.timeline is not None and monitor.timeline.verdict == "unknown"
    assert {phase.name for phase in monitor.timeline.phases} <= {"warm_up", "fitting", "memorization"}
    assert "heldout_loss" not in run_of(monitor).series


def test_forward_that_cannot_be_called_leaves_weights_and_a_hint(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    monitor = InterpMonitor(background="inline")
    fit(tmp_path, monitor, NeedsTwoInputs(), max_steps=5)
    assert "pair: forward cannot be called on the batch (TypeError" in said.text
    assert "training_step: training_step reads trainer.train_dataloader, which a replica does not have" in said.text
    assert "Pass probe_step=fn (--probe-step PKG.MOD:FN) with fn(module, batch) -> ProbeOutputs" in said.text
    assert "weight_norm" in run_of(monitor).series
    assert "train_loss" not in run_of(monitor).series


def test_probe_step_opens_a_module_whose_forward_cannot_be_called(tmp_path: Path) -> None:
    def probe_step(module, batch):  # type: ignore[no-untyped-def]
        logits = module.net(batch[0])
        loss = torch.nn.functional.cross_entropy(logits, batch[1], reduction="none")
        return ProbeOutputs(loss, logits, batch[1])

    monitor = InterpMonitor(probe_step=probe_step, background="inline")
    fit(tmp_path, monitor, NeedsTwoInputs(), max_steps=5)
    assert {"train_loss", "heldout_accuracy"} <= set(run_of(monitor).series)


def test_nan_losses_end_as_diverged_and_nothing_else_breaks(tmp_path: Path) -> None:
    monitor = InterpMonitor(background="inline")
    trainer = fit(tmp_path, monitor, TurnsNaN())
    assert trainer.global_step == 60
    assert monitor.timeline is not None and monitor.timeline.verdict == "diverged"
    last = run_of(monitor).all_records[-1]
    assert "not finite" in last.skipped["train_loss"]


def test_directory_of_another_run_is_refused_with_both_ways_out(tmp_path: Path) -> None:
    fit(tmp_path, InterpMonitor(tmp_path / "run", background="inline"), max_steps=1)
    with pytest.raises(ConfigError, match=r"already holds the run .*ckpt_path=.*choose another dirpath"):
        fit(tmp_path, InterpMonitor(tmp_path / "run"), max_steps=5)


def test_read_only_disk_is_refused_before_training(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(ConfigError, match="is read-only; choose a dirpath you can write to"):
        fit(small_disk.parent, InterpMonitor(small_disk / "run"))


def test_full_disk_at_start_is_refused(small_disk: Path) -> None:
    fill(small_disk)
    with pytest.raises(ConfigError, match=r"dirpath: .*/run cannot be written .*No space left.* choose another dirpath"):
        fit(small_disk.parent, InterpMonitor(small_disk / "run"))


def test_disk_that_fills_up_costs_snapshots_and_one_warning(small_disk: Path, said: pytest.LogCaptureFixture) -> None:
    monitor = InterpMonitor(small_disk / "run", every_n_steps=1, background="process")
    trainer = fit(small_disk.parent, monitor, max_steps=60)
    assert trainer.global_step == 60
    # Whichever write meets the full disk first says so; the others say nothing.
    warnings = ("warning: the snapshot of step", "warning: the health log cannot be written")
    assert sum(said.text.count(warning) for warning in warnings) == 1
    run = run_of(monitor)
    assert 0 < len(run.steps) < 61
    assert all(run.snapshot(step).step == step for step in run.steps)


def fill(disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"), (disk / "filler").open("wb", buffering=0) as handle:
        while True:
            handle.write(bytes(4096))
