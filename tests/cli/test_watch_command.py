# SPDX-License-Identifier: Apache-2.0
"""``lightning-interp watch`` as a process: where it says the page is, that it ends cleanly, and what it refuses."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from reference_run import make_reference_run

from lightning_interp.cli.main import main


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return make_reference_run(tmp_path / "interp_runs", last_step=300)


@contextmanager
def watching(arguments: Sequence[object]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that serves, and where; it is killed at the end where it has not ended."""
    command = [sys.executable, "-W", "error", "-m", "lightning_interp.cli.main", "watch", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "http" in line, process.stderr.read() if process.stderr else ""
        yield process, line
    finally:
        process.kill()
        process.communicate()


def url_in(line: str) -> str:
    return next(word for word in line.split() if word.startswith("http"))


def test_watch_serves_until_interrupted(run_dir):
    with watching([run_dir, "--port", "0"]) as (process, line):
        assert line.startswith("Watching 1 run at http://127.0.0.1:")
        with urllib.request.urlopen(url_in(line)) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "Interrupted.\n")


def test_watch_ends_by_sigterm_without_a_trace(run_dir):
    with watching([run_dir, "--port", "0"]) as (process, _):
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (143, "")


def test_watch_takes_the_next_port_where_one_is_taken(run_dir):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with watching([run_dir.parent, "--port", port]) as (_, line):
            assert int(url_in(line).rstrip("/").rsplit(":", 1)[1]) > port


def test_watch_warns_where_others_can_read_the_runs(run_dir):
    with watching([run_dir, "--port", "0", "--host", "0.0.0.0"]) as (process, _):
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert "--host 0.0.0.0: whoever can reach this port can read these runs" in errors


def test_watch_says_that_there_is_no_such_folder(tmp_path, capsys):
    assert main(["watch", str(tmp_path / "nothing"), "--port", "0"]) == 2
    assert "nothing: no such folder. Give a run directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "70000"], "expected a port from 0 to 65535"),
        (["--interval", "0"], "expected seconds from 0.2 to 3600"),
        (["--host", "no.such.host.invalid"], "is no name or address of this machine"),
    ],
)
def test_watch_refuses_what_cannot_be_served(run_dir, capsys, arguments, message):
    assert main(["watch", str(run_dir), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_watch_says_what_to_install(run_dir, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "dash", None)
    assert main(["watch", str(run_dir)]) == 2
    assert "dash is not installed. It comes with: pip install 'lightning-interp[dashboards]'" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["watch", "status"])
def test_help_imports_neither_torch_nor_dash(command):
    script = (
        "import sys; from lightning_interp.cli.main import main; main([sys.argv[1], '--help']); "
        "print([name for name in ('torch', 'dash', 'plotly', 'rich') if name in sys.modules], file=sys.stderr)"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, command], capture_output=True, text=True, check=True, env=os.environ
    )
    assert found.stderr.strip() == "[]"
