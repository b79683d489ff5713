# SPDX-License-Identifier: Apache-2.0
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from batch_kinds import Encoding, Named

from lightning_interp.core.records import Probe, ProbeSplit
from lightning_interp.monitor import probe_collection
from lightning_interp.monitor.probe_collection import ProbeCollection
from lightning_interp.monitor.training_context import TrainingContext
from lightning_interp.store import Manifest, read_manifest, write_manifest

BATCH = torch.zeros(512, 2)


@pytest.fixture
def sent() -> list[Probe]:
    return []


def collecting(run_dir: Path, sent: list[Probe], *, save: bool = True) -> ProbeCollection:
    """A keeper that collects training batches of a stream."""
    manifest = Manifest("run", "now", (), (), (), "Net", {}, {}, probe={"status": "pending"})
    write_manifest(run_dir, manifest)
    keeper = ProbeCollection(run_dir, manifest, save=save, send=sent.append)
    keeper.prepare(TrainingContext(run_dir, train_data=iter([])), given=None, resumed=False)
    return keeper


def test_finish_leaves_manifest_and_file_alike(tmp_path: Path, sent: list[Probe]) -> None:
    keeper = collecting(tmp_path, sent)
    keeper.offer("train", BATCH)
    keeper.finish(30.0)
    assert keeper.manifest == read_manifest(tmp_path)
    assert keeper.manifest.probe["status"] == "ready"


def test_commit_writes_off_the_training_thread(tmp_path: Path, sent: list[Probe], monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[Any] = []
    monkeypatch.setattr(probe_collection, "write_probe", lambda *_: threads.append(threading.current_thread()))
    keeper = collecting(tmp_path, sent)
    keeper.offer("train", BATCH)
    keeper.commit(), keeper.commit(), keeper.finish(30.0), keeper.finish(30.0)
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()


def test_probe_kept_out_of_the_directory_is_sent(tmp_path: Path, sent: list[Probe]) -> None:
    keeper = collecting(tmp_path, sent, save=False)
    keeper.offer("train", BATCH)
    keeper.finish(30.0)
    assert len(sent) == 1
    assert keeper.manifest.probe["status"] == "memory"


def test_probe_that_comes_too_late_changes_nothing_any_more(
    tmp_path: Path, sent: list[Probe], monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(probe_collection, "write_probe", lambda *_: go_on.wait(30.0))
    keeper = collecting(tmp_path, sent)
    keeper.offer("train", BATCH)
    helper = keeper._committing
    keeper.finish(0.01)
    before = read_manifest(tmp_path)
    go_on.set()
    assert helper is not None
    helper.join(30.0)
    assert keeper.manifest.probe == {"status": "none", "reason": "not written in time"}
    assert read_manifest(tmp_path) == before


def test_probe_that_cannot_be_kept_is_a_warning(
    tmp_path: Path, sent: list[Probe], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("as planned")

    monkeypatch.setattr(probe_collection, "write_probe", broken)
    keeper = collecting(tmp_path, sent)
    keeper.offer("train", BATCH)
    keeper.finish(30.0)
    assert "the probe could not be kept (RuntimeError: as planned)" in caplog.text
    assert read_manifest(tmp_path).probe == {"status": "none", "reason": "RuntimeError: as planned"}


def test_classes_of_collected_batches_are_announced_before_the_probe_is_written(tmp_path: Path, sent: list[Probe]) -> None:
    announced: list[Any] = []
    keeper = collecting(tmp_path, sent)
    keeper._announce = lambda types: announced.append((types, (tmp_path / "probe.safetensors").exists()))
    keeper.offer("train", Encoding({"x": BATCH}))
    keeper.finish(30.0)
    assert announced == [({"batch_kinds:Encoding": Encoding}, False)]


def test_classes_of_a_given_probe_go_with_the_order(tmp_path: Path) -> None:
    manifest = Manifest("run", "now", (), (), (), "Net", {}, {}, probe={"status": "pending"})
    keeper = ProbeCollection(tmp_path, manifest, save=True, send=lambda _: None)
    given = Probe(ProbeSplit((Named(BATCH, BATCH),)))
    keeper.prepare(TrainingContext(tmp_path), given=given, resumed=False)
    assert keeper.batch_types == {"batch_kinds:Named": Named}
    again = ProbeCollection(tmp_path, keeper.manifest, save=True, send=lambda _: None)
    again.prepare(TrainingContext(tmp_path), given=None, resumed=True)
    assert again.batch_types == {"batch_kinds:Named": Named}


def test_a_resumed_run_knows_classes_that_no_name_leads_to_by_its_first_batch(tmp_path: Path) -> None:
    def made_while_running() -> Any:
        class Pack:
            def __init__(self, x: Any) -> None:
                self.x = x

            def to(self, *_: Any, **__: Any) -> "Pack":
                return self

        return Pack(BATCH)

    batch = made_while_running()
    manifest = Manifest("run", "now", (), (), (), "Net", {}, {}, probe={"status": "pending"})
    keeper = ProbeCollection(tmp_path, manifest, save=True, send=lambda _: None)
    keeper.prepare(TrainingContext(tmp_path), given=Probe(ProbeSplit((batch,))), resumed=False)
    again = ProbeCollection(tmp_path, keeper.manifest, save=True, send=lambda _: None)
    again.prepare(TrainingContext(tmp_path, first_batch=batch), given=None, resumed=True)
    assert list(again.batch_types.values()) == [type(batch)]


def test_other_entries_change_until_the_manifest_is_sealed(tmp_path: Path, sent: list[Probe]) -> None:
    keeper = collecting(tmp_path, sent)
    keeper.amend(lambda manifest: replace(manifest, module_class="Other"))
    assert read_manifest(tmp_path).module_class == "Other"
    write_manifest(tmp_path, replace(keeper.seal(), status="failed"))
    keeper.amend(lambda manifest: replace(manifest, module_class="Late"))
    assert read_manifest(tmp_path) == replace(keeper.manifest, module_class="Other", status="failed")
