# SPDX-License-Identifier: Apache-2.0
"""``lightning-interp status``: what people and scripts read, while a run trains and afterwards."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from reference_run import append_snapshot, make_hostile_run, make_reference_run

from lightning_interp.cli import status
from lightning_interp.cli.main import main
from lightning_interp.dashboards.run_summary import sizes_by_part, summary_of
from lightning_interp.dashboards.run_view import view_run
from lightning_interp.store.jsonl import append_line
from lightning_interp.store.layout import HEALTH, HEARTBEAT, replace_text


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal in which no line is broken."""
    monkeypatch.setenv("COLUMNS", "160")


def as_json(capsys, run_dir: Path) -> dict:
    assert main(["status", str(run_dir), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_status_shows_verdict_phases_measures_and_settings(tmp_path, capsys, wide):
    assert main(["status", str(make_reference_run(tmp_path))]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "grokking" in shown
    assert "Training finished, latest snapshot at step 16,000. The analysis is complete." in shown
    assert "circuit formation │ 1,400 │ 1,300–1,700 │ 9,800 │ 0.90" in shown
    assert "held-out accuracy (share) │ 16,000 │ 1 │ +0" in shown
    assert "learning rate │ 0.001" in shown
    assert "snapshots written │ 161" in shown
    assert "records.jsonl" in shown


def test_status_as_json_holds_the_change_since_the_phase_began(tmp_path, capsys):
    found = as_json(capsys, make_reference_run(tmp_path, last_step=9000))
    loss = next(each for each in found["measures"] if each["name"] == "heldout_loss")
    assert (found["verdict"], found["ended"], found["phases"][-1]["name"]) == (
        "memorization_only",
        False,
        "circuit_formation",
    )
    assert loss["unit"] == "nats"
    assert loss["change"] == pytest.approx(11.211884 - 29.252644)  # the rows of steps 9,000 and 1,400
    assert found["settings"] == {"lr": 1e-3, "weight_decay": 1.0, "batch_size": 3830.0}


def test_status_counts_what_was_dropped_and_what_it_costs(tmp_path, capsys):
    run_dir = make_reference_run(tmp_path, last_step=500)
    for row in (
        {"event": "dropped", "step": 600, "reason": "the writer is behind"},
        {"event": "dropped", "step": 700, "reason": "the writer is behind"},
        {"event": "removed", "step": 100},
        {"event": "thinned", "step": 700, "hook_share": 0.01, "contention": None},
        {"event": "analyzer_failed", "reason": "it died"},
    ):
        append_line(run_dir / HEALTH, {"attempt": 0, "time": time.time(), **row})
    health = as_json(capsys, run_dir)["health"]
    assert health["dropped"] == {"the writer is behind": 2}
    assert (health["snapshots"], health["removed"], health["thinned"]) == (6, 1, 1)
    assert health["costs"] == {"hook_share": 0.01}
    assert health["notices"] == ["it died"]


def test_status_says_that_an_analyzer_may_have_been_killed(tmp_path, capsys, monkeypatch):
    run_dir = make_reference_run(tmp_path, last_step=500)
    monkeypatch.setenv("COLUMNS", "400")
    beat = {"pid": 1, "host": "here", "start_id": "", "at": time.time() - 600}
    replace_text(run_dir / HEARTBEAT, json.dumps(beat))
    assert main(["status", str(run_dir)]) == 0
    shown = capsys.readouterr().out
    said = "No sign of life from the analyzer for 10 min, as process 1 of here: it may have been killed."
    assert f"{said} `lightning-interp analyze {run_dir} --module pkg.mod:build` finishes its work once" in shown
    assert "last sign of life of the analyzer │ 10 min ago" in " ".join(shown.split())


def warnings_with(run_dir: Path, **beat: object) -> tuple[str, ...]:
    """What `status` warns of where the latest sign of life of the analyzer is this one."""
    now = time.time()
    replace_text(run_dir / HEARTBEAT, json.dumps({"host": socket.gethostname(), "start_id": "", "at": now - 20} | beat))
    return summary_of(view_run(run_dir), now=now).warnings


def test_status_asks_the_system_whether_the_analyzer_is_there(tmp_path):
    run_dir = make_reference_run(tmp_path, last_step=500)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    said = warnings_with(run_dir, pid=gone.pid)
    assert said == (
        f"The analyzer (process {gone.pid}) is gone since 20 s without having finished: it was killed, or the machine was "
        f"started again. `lightning-interp analyze {run_dir} --module pkg.mod:build` finishes its work once the training "
        "has ended.",
    )
    assert warnings_with(run_dir, pid=gone.pid, at=time.time() - 5) == (), "another may be taking its place"
    assert warnings_with(run_dir, pid=gone.pid, start_id="of one before") == ()
    assert warnings_with(run_dir, pid=gone.pid, host="elsewhere") == ()
    assert "is gone since" in warnings_with(run_dir, pid=os.getpid())[0], "the number is another process's now"


def test_status_tells_an_analyzer_that_hangs_from_one_that_is_gone(tmp_path):
    run_dir = make_reference_run(tmp_path, last_step=500)
    command = [sys.executable, "-c", "import time; time.sleep(300)", "lightning_interp.analysis.worker"]
    with subprocess.Popen(command) as hanging:
        assert warnings_with(run_dir, pid=hanging.pid) == ()
        (said,) = warnings_with(run_dir, pid=hanging.pid, at=time.time() - 600)
        assert f"for 10 min: its process {hanging.pid} is there, but halted or hanging. End it with `kill -9" in said
        hanging.kill()
        while warnings_with(run_dir, pid=hanging.pid) == ():  # nobody has asked for its status: it is not there all the same
            time.sleep(0.05)


def test_status_says_that_a_training_may_have_been_killed(tmp_path):
    run = view_run(make_reference_run(tmp_path, last_step=500))
    said = summary_of(run, now=time.time() + 7200).warnings
    assert said == ("No word from the training for 2.0 h: it may have been killed, or is not stepping.",)


def test_status_prints_nothing_that_a_terminal_obeys(tmp_path, capsys, wide):
    assert main(["status", str(make_hostile_run(tmp_path))]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert r"\x1b[2J" in shown


def test_status_sizes_are_those_of_the_files(tmp_path):
    run_dir = make_hostile_run(tmp_path)
    (run_dir / "snapshots").mkdir()
    (run_dir / "snapshots" / "step_000000001.safetensors").write_bytes(b"x" * 10)
    (run_dir / "abandoned" / "attempt_0" / "snapshots").mkdir(parents=True)
    (run_dir / "abandoned" / "attempt_0" / "snapshots" / "old").write_bytes(b"x" * 7)
    sizes = sizes_by_part(run_dir)
    assert (sizes["snapshots"], sizes["other"]) == (10, 7)
    assert sum(sizes.values()) == sum(path.stat().st_size for path in run_dir.rglob("*") if path.is_file())


def test_status_of_a_folder_that_is_no_run(tmp_path, capsys):
    assert main(["status", str(tmp_path)]) == 2
    assert "not a run directory (no run.json)" in capsys.readouterr().err


def test_status_follows_or_prints_json(tmp_path, capsys):
    assert main(["status", str(make_reference_run(tmp_path, last_step=300)), "--follow", "--json"]) == 2
    assert "give either --follow or --json" in capsys.readouterr().err


class Meanwhile:
    """Stands for `time` in the command: what happens while it waits before it looks again."""

    def __init__(self, *happens: Callable[[], object]) -> None:
        self._happens, self.waited = iter(happens), list[float]()

    def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        next(self._happens)()

    time = staticmethod(time.time)


def test_status_follows_a_run_to_its_end(tmp_path, capsys, monkeypatch):
    run_dir = make_reference_run(tmp_path, last_step=15_900)
    meanwhile = Meanwhile(lambda: None, lambda: append_snapshot(run_dir, 16_000))
    monkeypatch.setattr(status, "time", meanwhile)
    assert main(["status", str(run_dir), "--follow"]) == 0
    assert meanwhile.waited == [status.FOLLOW_S] * 2
    shown, errors = capsys.readouterr()
    assert "Training finished, latest snapshot at step 16,000." in shown and errors == ""


def test_status_stops_following_when_interrupted(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(status, "time", Meanwhile(lambda: signal.raise_signal(signal.SIGINT)))
    assert main(["status", str(make_reference_run(tmp_path, last_step=500)), "--follow"]) == 130
    shown, errors = capsys.readouterr()
    assert "latest snapshot at step 500" in shown and errors == "Interrupted.\n"


def test_status_of_a_strange_run_names_what_is_not_known(tmp_path, caplog):
    path = make_reference_run(tmp_path, every=20)
    content = json.loads((path / "analysis.json").read_text())
    (path / "analysis.json").write_text(json.dumps(content | {"notices": 7}))
    assert main(["status", str(path)]) == 0
    assert "analysis.json: `notices` should be list[str], not 7. It counts as not known." in caplog.text
