# SPDX-License-Identifier: Apache-2.0
"""On a system without what Windows lacks: no fcntl, resource, process groups, SIGSTOP, signal masks, os.nice and more.

Windows itself was not at hand. `lesser_system` hides all of that from the package in every process of a training and of the
commands after it; what it does not have is Windows' rules for files that are open.
"""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lesser_session as session
import pytest
import torch

from lightning_interp.core import system_features as features

SUPPORT = Path(session.__file__).parent
SENTENCE = (
    "this system cannot halt processes (SIGSTOP), lower their priority (os.nice) or lock files of one user (fcntl, "
    "os.getuid), so that fewer snapshots are all that holds max_overhead, the analyzer has the same priority as the "
    "training and the number of analyzers on this machine is not limited"
)
STEPS = list(range(0, session.STEPS + 1, session.EVERY))
RESERVED = {"con", "prn", "aux", "nul"}


def lesser(folder: Path, *arguments: str) -> dict[str, Any]:
    """How to start python on the lesser system."""
    path = os.pathsep.join(map(str, (SUPPORT / "lesser_system", SUPPORT, SUPPORT.parents[1])))
    environment = os.environ | {"PYTHONPATH": path, "LESSER_SYSTEM_LOG": str(folder / "started.log")}
    return {"args": [sys.executable, *arguments], "env": environment, "cwd": folder, "text": True}


def run_lesser(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(**lesser(folder, *arguments), capture_output=True, timeout=250)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lesser")


@pytest.fixture(scope="module")
def trained(folder: Path) -> str:
    """What a training on the lesser system said."""
    done = run_lesser(folder, str(SUPPORT / "lesser_session.py"), "train", str(folder))
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def used(folder: Path, trained: str) -> dict[str, Any]:
    """What readers and commands there made of it."""
    done = run_lesser(folder, str(SUPPORT / "lesser_session.py"), "use", str(folder))
    assert done.returncode == 0, done.stderr
    return json.loads((folder / session.USED).read_text())


def started(folder: Path) -> str:
    """Command lines of all processes that had the lesser system."""
    return (folder / "started.log").read_text()


def steps_of(run_dir: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run_dir / "records.jsonl").read_text().splitlines()]


def test_the_lesser_system_hides_from_the_package_what_windows_lacks(folder):
    names = [name for name in vars(features) if name.isupper()]
    show = f"print([getattr(features, name) for name in {names!r}], features.signals('SIGHUP'))"
    done = run_lesser(folder, "-c", f"from lightning_interp.core import system_features as features; {show}")
    there = [None if name == "OWN_GROUP" else False for name in names]
    assert (done.stdout, len(names)) == (f"{there} ()\n", 8)


def test_this_system_lacks_nothing():
    assert features.what_analyzers_lack() is None


def test_every_module_and_public_name_imports(used):
    assert used["not there"] == [] and len(used["modules"]) > 200


def test_the_live_analyzer_works_in_its_own_process(folder, trained):
    assert " lightning_interp.analysis.worker " in started(folder)
    assert steps_of(folder / session.RUN) == STEPS


def test_the_live_analyzer_says_in_one_sentence_what_it_does_without(trained):
    assert [line for line in trained.splitlines() if "warning" in line] == [f"interp: warning: {SENTENCE}"]


def test_training_is_what_it_is_without_the_monitor(folder, trained, tmp_path):
    threads = torch.get_num_threads()
    try:
        alone = session.train(tmp_path)
    finally:
        torch.set_num_threads(threads)
    watched = torch.load(folder / session.WEIGHTS, weights_only=True)
    assert all(torch.equal(alone[name], watched[name]) for name in alone | watched)


def test_every_reader_reads(used):
    read = used["read"]
    assert read["snapshots"] == read["records"] == STEPS
    assert len(read["losses"]) == len(STEPS) and read["probe"] and read["phases"] and read["weights"]
    assert read["activations"][0] == len(STEPS)


def test_the_health_log_has_the_sentence(used):
    assert used["read"]["health"] == [SENTENCE]
    assert not [notice for notice in used["read"]["notices"] if "limited" in notice]


@pytest.mark.parametrize("name", [name for name in session.commands(Path()) if name != "check-neutral"])
def test_the_command_works(used, name):
    told: Mapping[str, Any] = used["commands"][name]
    assert told["code"] == 0, told


def test_an_interrupted_analysis_is_finished(folder, used):
    assert "observed now" in used["commands"]["analyze a run"]["err"]
    assert steps_of(folder / session.CUT) == STEPS


def test_two_workers_find_what_one_finds(folder, used):
    assert "multiprocessing.spawn" in started(folder)
    first, second = (folder / name / "records.jsonl" for name in ("by-1", "by-2"))
    assert first.read_bytes() == second.read_bytes()


def test_two_analyzers_of_one_run_are_kept_apart(used):
    assert (used["held"]["code"], "another analyzer works on this run" in used["held"]["err"]) == (2, True)


def test_a_training_of_check_neutral_is_started_and_ended(folder, used):
    assert used["commands"]["check-neutral"]["code"] == 2
    assert "lesser_session:build" in used["commands"]["check-neutral"]["err"]
    assert " lightning_interp.neutrality.training " in started(folder)


def test_what_the_output_cannot_show_becomes_a_question_mark(used):
    assert "val_loss ? heldout_loss" in used["commands"]["phases of a csv"]["out"]


def test_lines_end_as_they_do_elsewhere(folder, used):
    assert not [path.name for path in folder.rglob("*.jsonl") if b"\r" in path.read_bytes()]


def test_every_file_has_a_name_that_windows_takes(folder, used):
    written = [path.relative_to(folder) for path in folder.rglob("*")]
    bad = [path for path in written if set('<>:"\\|?*') & set(str(path)) or path.name[-1] in ". "]
    assert not bad and not [path for path in written if path.name.split(".")[0].lower() in RESERVED]
    assert len({str(path).lower() for path in written}) == len(written) > 20


def test_watch_serves_its_page(folder, trained):
    call = lesser(folder, "-m", "lightning_interp.cli.main", "watch", str(folder / session.RUN), "--port", "0")
    with subprocess.Popen(**call, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            line = process.stdout.readline()
            assert "http" in line, process.stderr.read()
            with urllib.request.urlopen(next(word for word in line.split() if word.startswith("http"))) as answer:
                assert answer.status == 200
        finally:
            process.kill()


def test_an_orphaned_analyzer_ends_after_its_grace(folder):
    code = (
        "import time; from lightning_interp.analysis.worker.parent_death import DeathWatch, plain_signals\n"
        "plain_signals(); death = DeathWatch(-1); death.listen(); death.grace_s = 0.1; death.training_gone(); time.sleep(60)"
    )
    done = run_lesser(folder, "-c", code)
    assert (done.returncode, done.stderr) == (1, "")
