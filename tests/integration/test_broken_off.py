# SPDX-License-Identifier: Apache-2.0
"""Trainings that break off: what the user does about it comes first, and the run directory is whole all the same."""

import gc
import math
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from broken_off import STEP
from half_second_measure import Slow
from lightning.pytorch.callbacks import OnExceptionCheckpoint
from noisy_training import quiet_trainer
from small_training import Classifier, Stream, data, fit
from torch.utils.data import DataLoader
from waiting import until, until_closed

from lightning_interp import InterpMonitor, Monitor, Run, open_run
from lightning_interp.capture.buffers import CopySet

SUPPORT = Path(__file__).parents[1] / "support"
CHECKPOINT_S = 0.5
"""How much later than without a monitor the user's checkpoint may be there."""
EXIT_S = 2.0
"""How long the end of the process may wait, for all monitors together."""
SLACK_S = 0.5
"""What a machine whose cores are all busy adds to any of these times."""
TRIES = 3
"""A time is believed where one of so many tries shows it: a busy machine can only add to it."""


def start(folder: Path, kind: str, monitors: int) -> "subprocess.Popen[str]":
    folder.mkdir()
    command = [sys.executable, str(SUPPORT / "broken_off.py"), str(folder), kind, str(monitors)]
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@dataclass(frozen=True)
class Ended:
    """How a training that broke off ended: seconds to the user's checkpoint and in the wait at exit, and what was said."""

    checkpoint_s: float
    exit_s: float
    said: str


def end(folder: Path, kind: str, monitors: int) -> Ended:
    with start(folder, kind, monitors) as process:
        out, said = process.communicate(timeout=200)
    times = dict(line.split() for line in out.splitlines() if line.startswith(("raised ", "exits ", "ended ")))
    raised, exits, ended = (float(times[name]) for name in ("raised", "exits", "ended"))
    return Ended((folder / "mine.ckpt").stat().st_mtime - raised, ended - exits, said)


def dropped_of(run: Run) -> set[int]:
    """Steps whose snapshots were given up, as they are on a slow machine."""
    return {row["step"] for row in run.health if row["event"] == "dropped"}


@pytest.mark.parametrize(
    ("kind", "monitors"),
    [
        ("error", 1),
        ("sigterm", 3),
        *(
            pytest.param(*case, marks=pytest.mark.verify)
            for case in (("error", 3), ("sigterm", 1), ("ctrl-c", 1), ("ctrl-c", 3))
        ),
    ],
)
def test_the_users_checkpoint_and_the_end_of_the_process_do_not_wait(tmp_path, kind, monitors):
    for number in range(TRIES):
        folder = tmp_path / f"watched_{number}"
        watched = end(folder, kind, monitors)
        _end_analyzers(folder)
        late_s, exit_s = watched.checkpoint_s, watched.exit_s
        if late_s >= CHECKPOINT_S:  # a slow disk, perhaps
            late_s -= end(tmp_path / f"alone_{number}", kind, 0).checkpoint_s
        told = watched.said.count("the analysis goes on in the background")
        if late_s < CHECKPOINT_S and exit_s < EXIT_S + SLACK_S and told == monitors:
            break
    assert late_s < CHECKPOINT_S
    assert exit_s < EXIT_S + SLACK_S
    assert told == monitors, watched.said
    for run in (open_run(folder / f"run_{number}") for number in range(monitors)):
        assert run.manifest.status == ("interrupted" if kind == "ctrl-c" else "failed")
        assert {*run.steps, *dropped_of(run)} >= set(range(STEP)), "every snapshot is on disk, or known not to be"


def test_a_second_ctrl_c_ends_the_wait_at_once(tmp_path):
    folder = tmp_path / "out"
    with start(folder, "ctrl-c", 1) as process:
        assert process.stderr is not None
        assert any("Ctrl-C ends this at once" in line for line in process.stderr)
        asked = time.time()
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate(timeout=120)
    _end_analyzers(folder)

    (ended,) = (float(line.split()[1]) for line in out.splitlines() if line.startswith("ended "))
    assert "not waiting any longer" in rest
    assert "Traceback" not in rest
    assert ended - asked < 1.2, "of the second and a half that were left"


LEFT = """
import sys
import torch
from half_second_measure import Slow
from torch.utils.data import DataLoader
from three_classes import data
from lightning_interp import Monitor

monitor = Monitor(sys.argv[1], every_n_steps=4, measures=[Slow(), "standard"])
with monitor.watch(torch.nn.Linear(10, 3), train_data=DataLoader(data(), batch_size=32)):
    for _ in range(20):
        monitor.step()
    raise RuntimeError("the user's own error")
"""


def test_an_analysis_that_was_left_finishes_by_itself(tmp_path):
    """Three seconds of it and more, where the end of the process waits for two."""
    command = [sys.executable, "-c", LEFT, str(tmp_path / "run")]
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert "the user's own error" in done.stderr
    until(lambda: len(open_run(tmp_path / "run").all_records) == len(open_run(tmp_path / "run").steps) > 0)
    assert open_run(tmp_path / "run").timeline is not None


class Fails(Classifier):
    def training_step(self, batch, batch_idx):
        if self.global_step == 10:
            raise RuntimeError("the user's own error")
        return super().training_step(batch, batch_idx)


@pytest.fixture(scope="module")
def lived_on(tmp_path_factory):
    """The monitor of a training that broke off while the batches of its probe were still being collected, closed since."""
    root = tmp_path_factory.mktemp("lived_on")
    monitor = InterpMonitor(root / "run", every_n_steps=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIGHTNING_INTERP_REPORT", "1")
        with pytest.raises(RuntimeError, match="the user's own error"):
            fit(root, monitor, Fails(), train=DataLoader(Stream(), batch_size=8), max_steps=20)
        until_closed(root / "run")
    return monitor


def test_a_process_that_lives_on_gets_the_whole_run_and_its_report(lived_on):
    """As in a notebook: the exception arrives at once, the rest comes while one looks at it."""
    monitor = lived_on
    assert (monitor.run_dir / "report.html").exists()
    run = open_run(monitor.run_dir)
    assert [record.step for record in run.all_records] == run.steps == list(range(11))
    assert monitor.timeline is not None
    assert monitor.timeline.verdict == run.timeline.verdict


@pytest.mark.filterwarnings("ignore:.*fit.ckpt_path=None.*")  # Lightning of its own checkpoint
@pytest.mark.filterwarnings("ignore:.*your dataloader is not resumable.*")
@pytest.mark.filterwarnings("ignore:.*no last checkpoint available.*")
def test_a_run_that_still_closes_is_gone_on_with(tmp_path):
    """Caught, and resumed from the user's own checkpoint in the same process at once."""
    monitor = InterpMonitor(tmp_path / "run", every_n_steps=1)
    trainer = quiet_trainer(
        tmp_path, [monitor, OnExceptionCheckpoint(tmp_path, "mine")], max_steps=20, enable_checkpointing=True
    )
    with pytest.raises(RuntimeError, match="the user's own error"):
        trainer.fit(Fails(), DataLoader(data(), batch_size=32), DataLoader(data(40), batch_size=20))

    again = quiet_trainer(tmp_path, [monitor], max_steps=15)
    loaders = DataLoader(data(), batch_size=32), DataLoader(data(40), batch_size=20)
    again.fit(Classifier(), *loaders, ckpt_path=tmp_path / "mine.ckpt", weights_only=False)

    run = open_run(tmp_path / "run")
    assert (run.manifest.status, run.manifest.attempt) == ("finished", 1)
    assert run.steps == list(range(16))


FORKED = """
import multiprocessing
import sys
from pathlib import Path

import broken_off


def work(folder):
    broken_off.main(Path(folder), "error", 1, "standard")


if __name__ == "__main__":
    process = multiprocessing.get_context("fork").Process(target=work, args=(sys.argv[1],))
    process.start()
    process.join()
"""


def test_a_training_in_a_forked_process_leaves_a_whole_run(tmp_path):
    """Such a process ends without what `atexit` knows."""
    command = [sys.executable, "-c", FORKED, str(tmp_path)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(SUPPORT)}, capture_output=True, text=True, timeout=120, check=False
    )
    run = open_run(tmp_path / "run_0")
    assert run.manifest.status == "failed", done.stderr
    assert {*run.steps, *dropped_of(run)} >= set(range(STEP))
    assert "closed" in {row["event"] for row in run.health}
    until(lambda: len(open_run(run.path).all_records) == len(run.steps))


def test_a_callback_that_is_kept_keeps_no_copy_of_the_weights(tmp_path):
    monitor = InterpMonitor(tmp_path / "run", every_n_steps=1, background="inline")
    with pytest.raises(RuntimeError, match="the user's own error"):
        fit(tmp_path, monitor, Fails(), max_steps=20)
    until_closed(tmp_path / "run")
    gc.collect()
    assert not [copies for copies in gc.get_objects() if type(copies) is CopySet]


def test_a_run_is_closed_where_no_thread_can_be_started(tmp_path, monkeypatch):
    monitor = InterpMonitor(tmp_path / "run", every_n_steps=1, background="inline", strict=True)
    start = threading.Thread.start

    def limited(self):
        if self.name == "interp-closing":
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(RuntimeError, match="the user's own error"):
        fit(tmp_path, monitor, Fails(), max_steps=20)
    run = open_run(tmp_path / "run")
    assert run.manifest.status == "failed"
    assert [record.step for record in run.all_records] == run.steps == list(range(11))


def test_an_iterable_probe_is_kept_of_a_training_that_broke_off(lived_on):
    assert open_run(lived_on.run_dir).probe is not None


def test_ctrl_c_while_the_end_of_a_training_waits_leaves_a_closed_run(tmp_path, monkeypatch):
    def interrupted(reached, last_step, queue):
        signal.raise_signal(signal.SIGINT)  # from the keyboard, while the console says how far the analysis is
        return ""

    monkeypatch.setattr("lightning_interp.monitor.run_end.waiting_line", interrupted)
    monkeypatch.setattr("lightning_interp.monitor.run_end._FIRST_WORD_S", 0.5)
    monitor = Monitor(tmp_path / "run", every_n_steps=1, measures=[Slow(), "losses"])
    with (
        pytest.raises(KeyboardInterrupt),
        monitor.watch(torch.nn.Linear(10, 4), train_data=DataLoader(data(), batch_size=32)),
    ):
        for _ in range(20):
            monitor.step()
    run = open_run(tmp_path / "run")
    assert run.manifest.status == "finished", "the training was"
    assert [row["analyzer_finished"] for row in run.health if row["event"] == "closed"] == [False]
    _end_analyzers(tmp_path)


def test_batches_of_a_sanity_check_that_broke_off_are_in_no_later_probe(tmp_path):
    class Broken(Classifier):
        def validation_step(self, batch, batch_idx):
            raise RuntimeError("the user's own error")

    class Zeros(Stream):
        def __iter__(self):
            return ((torch.zeros_like(x), y) for x, y in super().__iter__())

    monitor = InterpMonitor(tmp_path / "run", every_n_steps=1, background="inline")
    with pytest.raises(RuntimeError, match="the user's own error"):
        fit(tmp_path, monitor, Broken(), heldout=DataLoader(Zeros(40), batch_size=20), max_steps=3)
    fit(tmp_path, monitor, heldout=DataLoader(Stream(40), batch_size=20), max_steps=2)  # no validation replaces them
    heldout = open_run(tmp_path / "run").probe.heldout
    assert heldout is not None
    assert not [batch for batch in heldout.batches if bool((batch[0] == 0).all())]


def test_a_plain_loop_passes_its_exception_on_at_once_with_a_state_to_resume_from(tmp_path):
    monitor = Monitor(tmp_path / "run", every_n_steps=1, measures=[Slow(), "losses"])
    module, began = torch.nn.Linear(10, 4), math.inf
    with pytest.raises(RuntimeError, match="mine"), monitor.watch(module, train_data=DataLoader(data(), batch_size=32)):
        for _ in range(20):
            monitor.step()
        began = time.monotonic()
        raise RuntimeError("mine")
    assert time.monotonic() - began < CHECKPOINT_S
    assert monitor.state_dict()["last_step"] == 20
    _end_analyzers(tmp_path)


def _end_analyzers(folder: Path) -> None:
    """Analyzers of this test that still work: nobody waits for what they find."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"lightning_interp.analysis.worker" in words and any(str(folder).encode() in word for word in words):
            os.kill(int(entry.name), signal.SIGTERM)  # asked to end, it is not started again
