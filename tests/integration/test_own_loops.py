# SPDX-License-Identifier: Apache-2.0
"""The monitor without a Trainer: plain loops and Fabric, and trainers of the other Lightning namespace."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import data
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from waiting import until_closed

from lightning_interp import InterpMonitor, Monitor, open_run
from lightning_interp.measures.logged_names import logged_at


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 3))


def loaders() -> tuple[DataLoader[Any], DataLoader[Any]]:
    return DataLoader(data(), batch_size=32), DataLoader(data(40), batch_size=20)


def plain_loop(module: nn.Module, monitor: Monitor | None, *, steps: int = 30, first: int = 0) -> None:
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    batches = list(loaders()[0])
    for step in range(first, steps):
        x, y = batches[step % len(batches)]
        loss = cross_entropy(module(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if monitor is not None:
            monitor.step(train_loss=loss)


def test_plain_loop_is_watched_and_bitwise_untouched(tmp_path: Path) -> None:
    watched, alone = network(), network()
    train, heldout = loaders()
    monitor = Monitor(tmp_path / "run", every_n_steps=5)
    with monitor.watch(watched, train_data=train, heldout_data=heldout, max_steps=30):
        plain_loop(watched, monitor)
    plain_loop(alone, None)
    assert all(torch.equal(a, b) for a, b in zip(watched.parameters(), alone.parameters(), strict=True))
    run = open_run(tmp_path / "run")
    assert run.steps == list(range(0, 31, 5))
    assert run.manifest.status == "finished"
    assert {"train_loss", "heldout_loss", "heldout_accuracy"} <= set(run.series)
    assert set(run.snapshot(5).scalars) == {"train_loss", logged_at("train_loss", "given")}


def test_plain_loop_that_raises_leaves_a_closed_run(tmp_path: Path) -> None:
    module, monitor = network(), Monitor(tmp_path / "run", every_n_steps=5, background="inline")
    with pytest.raises(ZeroDivisionError), monitor.watch(module, train_data=loaders()[0]):
        plain_loop(module, monitor, steps=10)
        raise ZeroDivisionError
    until_closed(tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert (run.manifest.status, run.steps) == ("failed", [0, 5, 10])


def test_plain_loop_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    module, monitor = network(), Monitor(tmp_path / "run", every_n_steps=5, background="inline")
    with monitor.watch(module, train_data=loaders()[0]):
        plain_loop(module, monitor, steps=10)
        state = monitor.state_dict()
    again = Monitor(tmp_path / "run", every_n_steps=5, background="inline")
    with again.watch(module, train_data=loaders()[0], step=10, resume=state):
        plain_loop(module, again, steps=20, first=10)
    run = open_run(tmp_path / "run")
    assert run.steps == [0, 5, 10, 15, 20]
    assert run.manifest.attempts[-1].resumed_at == 10


def test_failure_of_the_monitor_leaves_the_loop_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    module, monitor = network(), Monitor(tmp_path / "run", every_n_steps=5, background="inline")
    with monitor.watch(module, train_data=loaders()[0]):
        plain_loop(module, monitor, steps=7)
        module.register_buffer("odd", nn.UninitializedBuffer())  # cannot be copied
        plain_loop(module, monitor, steps=20, first=7)
    assert "Training goes on without it" in caplog.text
    assert open_run(tmp_path / "run").steps[:2] == [0, 5]


def test_switched_off_monitor_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTNING_INTERP", "0")
    module, monitor = network(), Monitor(tmp_path / "run")
    with monitor.watch(module):
        plain_loop(module, monitor, steps=3)
    assert not (tmp_path / "run").exists()


def test_loaders_as_fabric_wrapped_them_give_the_probe_of_the_loaders_inside(tmp_path: Path) -> None:
    from lightning.fabric import Fabric

    fabric = Fabric(accelerator="cpu", devices=1)
    found = []
    for name, wrap in (("wrapped", fabric.setup_dataloaders), ("plain", lambda *given: given)):
        train, heldout = wrap(*loaders())
        monitor = Monitor(tmp_path / name, every_n_steps=5, background="inline")
        with monitor.watch(network(), train_data=train, heldout_data={"day": heldout, "night": heldout}):
            monitor.step()
        found.append([open_run(tmp_path / name).records(f"heldout_loss{of}")[1].tolist() for of in ("", "/night")])
    assert found[0] == found[1]


def test_a_loop_over_data_without_an_index_is_told_that_it_has_no_probe(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monitor = Monitor(tmp_path / "run", every_n_steps=5, background="inline")
    with monitor.watch(network(), train_data=iter(loaders()[0])):
        monitor.step()
    assert "so there is no probe, and only weights are measured; pass probe=" in caplog.text
    assert open_run(tmp_path / "run").records("weight_norm")[0].tolist() == [0, 1]


def test_fabric_loop_is_watched_under_its_own_names(tmp_path: Path) -> None:
    from lightning.fabric import Fabric

    fabric = Fabric(accelerator="cpu", devices=1)
    module = network()
    wrapped, optimizer = fabric.setup(module, torch.optim.Adam(module.parameters(), 1e-2))
    train, heldout = loaders()
    batches = fabric.setup_dataloaders(train)
    monitor = Monitor(tmp_path / "run", every_n_steps=2, background="inline")
    with monitor.watch(wrapped, train_data=train, heldout_data=heldout):
        for _ in range(2):
            for x, y in batches:
                loss = cross_entropy(wrapped(x), y)
                optimizer.zero_grad()
                fabric.backward(loss)
                optimizer.step()
                monitor.step(train_loss=loss)
    run = open_run(tmp_path / "run")
    assert run.steps == [0, 2, 4, 6]
    assert set(run.snapshot(6).weights) == set(module.state_dict())
    assert "heldout_loss" in run.series


def test_trainer_of_the_other_namespace_takes_the_callback(tmp_path: Path) -> None:
    import pytorch_lightning as pl
    from other_namespace import Classifier

    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=9,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[InterpMonitor(tmp_path / "run", every_n_steps=3, background="inline")],
    )
    trainer.fit(Classifier(), *loaders())
    run = open_run(tmp_path / "run")
    assert run.steps == [0, 3, 6, 9]
    assert "interp/heldout_loss" in trainer.callback_metrics


def test_a_measure_inside_a_class_is_found_by_its_name(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path / "run", every_n_steps=1, measures="nested_measure:Box.Inner", close_timeout=100.0)
    with monitor.watch(network()):
        monitor.step(1)
    assert [record.values["inner"] for record in open_run(tmp_path / "run").all_records] == [0.0, 1.0]


@pytest.mark.parametrize("swapped", [False, True], ids=["as trained", "averages put in"])
def test_a_loop_that_puts_averages_in_at_its_end_has_no_snapshot_of_them(tmp_path: Path, swapped: bool) -> None:
    torch.manual_seed(0)
    net = nn.Linear(10, 3)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    monitor = Monitor(tmp_path / "run", every_n_steps=5, background="inline", report=False, strict=True)
    with monitor.watch(net):
        for _ in range(7):
            optimizer.zero_grad()
            net(torch.randn(4, 10)).square().sum().backward()
            optimizer.step()
            monitor.step()
        trained = net.weight.detach().clone()
        if swapped:
            net.weight.data.mul_(0.5)
    run = open_run(tmp_path / "run")
    assert run.steps == ([0, 5] if swapped else [0, 5, 7])
    assert swapped or torch.equal(run.snapshot(7).weights["weight"], trained)
