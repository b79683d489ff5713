# SPDX-License-Identifier: Apache-2.0
"""Trainings whose batch has a batch of several loaders: the probe has what the step gets, or says what it has."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.utilities import CombinedLoader
from noisy_training import quiet_trainer
from small_training import Classifier, Stream, data, fit
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lightning_interp import InterpMonitor, Run, open_run


class Pairs(Classifier):
    """Its loss is a sum over the parts of a batch."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        parts = batch.values() if isinstance(batch, dict) else batch
        return torch.stack([super(Pairs, self).training_step(part, batch_idx) for part in parts]).sum()

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        parts = list(batch.values()) if isinstance(batch, dict) else [batch]
        self.log("val_loss", sum(Classifier.training_step(self, part, batch_idx) for part in parts))


def loader(examples: int, batch_size: int = 20) -> DataLoader[Any]:
    return DataLoader(data(examples), batch_size=batch_size)


def numbers(start: int, count: int) -> DataLoader[Any]:
    """Examples that are known by their first number."""
    return DataLoader(
        TensorDataset(torch.arange(start, start + count).float()[:, None].repeat(1, 10), torch.zeros(count).long()), 4
    )


def watched(root: Path, train: Any, heldout: Any) -> Run:
    monitor = InterpMonitor(root / "run", every_n_steps=2, background="inline", report=False)
    fit(root, monitor, Pairs(), train=train, heldout=heldout, max_steps=4)
    return open_run(root / "run")


def firsts(batch: Any) -> list[float]:
    return batch[0][:, 0].tolist()


def test_beside_plain_validation_the_first_training_loader_is_taken_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = watched(tmp_path, {"a": loader(60), "b": loader(40)}, loader(40))
    assert "of the loaders in a training batch the probe takes the first (a): validation shows one" in caplog.text
    assert run.manifest.probe["examples"] == {"train": 60, "heldout": 40}
    assert run.records("train_loss")[0].tolist() == run.records("heldout_loss")[0].tolist() == [0, 2, 4]


def test_of_streams_the_first_part_of_a_batch_is_kept(tmp_path: Path) -> None:
    run = watched(tmp_path, [DataLoader(Stream(60), batch_size=20), loader(40)], loader(40))
    assert run.probe is not None and isinstance(run.probe.train.batches[0][0], Tensor)
    assert run.records("train_loss")[0].tolist() == [0, 2, 4]


@pytest.mark.parametrize(("mode", "batches"), [("max_size_cycle", 3), ("min_size", 2)])
def test_beside_combined_validation_batches_are_what_the_steps_get(tmp_path: Path, mode: Any, batches: int) -> None:
    parts = {"a": numbers(0, 8), "b": numbers(100, 12)}
    run = watched(tmp_path, CombinedLoader(parts, mode), CombinedLoader({"a": loader(40), "b": loader(40)}, "min_size"))
    assert run.probe is not None and run.probe.heldout is not None
    found = run.probe.train.batches
    assert [list(batch) for batch in (*found, *run.probe.heldout.batches)] == [["a", "b"]] * (batches + 2)
    assert [firsts(batch["b"]) for batch in found] == [[100 + 4 * k + i for i in range(4)] for k in range(batches)]
    assert [firsts(batch["a"]) for batch in found] == [[4 * (k % 2) + i for i in range(4)] for k in range(batches)]
    assert list(run.probe.loaders) == []


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no")
@pytest.mark.parametrize("kind", [list, tuple])
def test_without_validation_training_batches_are_whole(tmp_path: Path, kind: type) -> None:
    run = watched(tmp_path, kind([loader(40), loader(60)]), None)
    assert run.probe is not None
    assert [(type(batch), len(batch)) for batch in run.probe.train.batches] == [(kind, 2)] * 3


def test_combined_streams_pass_whole_beside_combined_validation(tmp_path: Path) -> None:
    train = {"a": DataLoader(Stream(60), batch_size=20), "b": loader(60)}
    run = watched(tmp_path, train, CombinedLoader({"a": loader(40), "b": loader(40)}, "min_size"))
    assert run.probe is not None and run.probe.heldout is not None
    assert list(run.probe.train.batches[0]) == list(run.probe.heldout.batches[0]) == ["a", "b"]


def test_a_collection_of_one_sequential_validation_is_as_before(tmp_path: Path) -> None:
    run = watched(tmp_path, {"only": loader(40)}, CombinedLoader({"day": loader(40), "night": loader(20)}, "sequential"))
    assert run.manifest.probe["examples"] == {"train": 40, "heldout": 40, "heldout/night": 20}


def test_training_on_combined_data_is_bitwise_the_same(tmp_path: Path) -> None:
    class Noisy(Dataset[Any]):
        """Draws from torch's stream and from one of its own at every example, and counts them."""

        def __init__(self) -> None:
            self.generator, self.count = torch.Generator().manual_seed(3), 0

        def __len__(self) -> int:
            return 40

        def __getitem__(self, index: int) -> Any:
            self.count += 1
            noise = torch.rand(10) + torch.rand(10, generator=self.generator) + self.count
            return noise + index, torch.tensor(index % 3)

    found = []
    for callbacks in ([InterpMonitor(tmp_path / "run", every_n_steps=2, background="inline", report=False)], []):
        torch.manual_seed(0)
        module, trainer = Pairs(), quiet_trainer(tmp_path, [*callbacks], max_steps=4)
        train, heldout = ({name: DataLoader(Noisy(), batch_size=20, shuffle=not k) for name in "ab"} for k in range(2))
        trainer.fit(module, train, CombinedLoader(heldout, "min_size"))
        found.append((module.state_dict(), torch.get_rng_state()))
    (ours, state), (plain, plain_state) = found
    assert all(torch.equal(ours[name], plain[name]) for name in plain) and torch.equal(state, plain_state)
