# SPDX-License-Identifier: Apache-2.0
"""Nothing that a stranger wrote steers the terminal of a command, or makes a line that looks like the command's own."""

import io
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import hostile_kit
import pytest
from hostile_kit import EVIL, EVIL_NAME, FORGED, forged_lines, steering
from reference_run import make_hostile_run

from lightning_interp.cli import main as program
from lightning_interp.cli.main import COMMANDS, main
from lightning_interp.cli.plain_json import print_json
from lightning_interp.core.errors import ConfigError
from lightning_interp.core.inert_output import inert_output
from lightning_interp.core.terminal import PlainConsole, shown
from lightning_interp.neutrality.process import LOG, TrainingOrder, _failure

NAMES = sorted(hostile_kit.commands(Path()))
ON_A_TERMINAL = ("status_follow", "status_damaged", "report_json", "tca", "analyze", "phases_csv")
NAMES_NOTHING = {"phases_json"}
"""Commands that print no text of the files they read."""
TOO_LONG_S = 300.0
ENVIRONMENT = {"COLUMNS": "2000", "TERM": "xterm-256color"}


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> dict[str, bytes]:
    """What each command prints into files that take what is valid UTF-8; standard output, then standard error."""
    folder, outputs = tmp_path_factory.mktemp("kit"), tmp_path_factory.mktemp("outputs")
    kit = hostile_kit.make_kit(folder)
    environment = {**os.environ, **ENVIRONMENT, "PYTHONIOENCODING": "utf-8:strict"}
    command = [*hostile_kit.runner(), str(outputs)]
    subprocess.run(command, input=json.dumps(kit), text=True, check=True, cwd=folder, env=environment, timeout=TOO_LONG_S)
    return {name: b"".join((outputs / f"{name}.{end}").read_bytes() for end in ("out", "err")) for name in kit}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> bytes:
    """What some commands print on a terminal, one after the other."""
    folder = tmp_path_factory.mktemp("kit")
    kit = hostile_kit.make_kit(folder)
    (folder / "kit.json").write_text(json.dumps({name: kit[name] for name in ON_A_TERMINAL}))
    ours, its = pty.openpty()
    with (folder / "kit.json").open() as orders:
        environment = {**os.environ, **ENVIRONMENT}
        process = subprocess.Popen(
            hostile_kit.runner(), stdin=orders, stdout=its, stderr=its, cwd=folder, env=environment, close_fds=True
        )
    os.close(its)
    said = bytearray()
    try:
        while part := os.read(ours, 2**16):
            said += part
    except OSError:  # Linux: the other end is closed
        pass
    finally:
        os.close(ours)
        process.kill()
    assert process.wait() == 0
    return bytes(said)


@pytest.mark.parametrize("name", NAMES)
def test_a_command_prints_nothing_that_steers_a_terminal(printed, name):
    assert steering(printed[name]) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_command_prints_no_line_that_a_stranger_wrote(printed, name):
    assert forged_lines(printed[name]) == []


@pytest.mark.parametrize("name", sorted(set(NAMES) - NAMES_NOTHING))
def test_a_command_shows_what_a_name_really_is(printed, name):
    assert rb"]0;owned" in printed[name]


def test_no_command_fails_on_a_name(printed):
    assert [name for name, text in printed.items() if b"exit code 1" in text or b"Traceback" in text] == []


def test_the_kit_has_every_command(printed):
    assert {name.partition("_")[0] for name in printed} >= {name.partition("-")[0] for name in COMMANDS}


def test_a_terminal_is_steered_by_our_own_bars_alone(drawn):
    assert steering(drawn, terminal=True) == []


def test_a_terminal_shows_no_line_that_a_stranger_wrote(drawn):
    assert forged_lines(drawn) == []


def test_a_terminal_has_bars_and_colours(drawn):
    assert b"\x1b[?25l" in drawn and b"\x1b[1m" in drawn and drawn.count(b"exit code") == len(ON_A_TERMINAL)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_is_printed_above_a_bar_is_inert(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    with inert_output(), shown(PlainConsole().status("working")):
        print("a\x1b[31;5mb")
    assert (r"a\x1b[31;5mb" in terminal.getvalue(), "\x1b[?25l" in terminal.getvalue()) == (True, True)


def test_plain_console_reads_no_markup(monkeypatch):
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    PlainConsole().print("[link=https://example.org]a[/link] :smile:")
    assert terminal.getvalue().strip() == "[link=https://example.org]a[/link] :smile:"


def test_main_says_a_fault_of_the_program_inert(monkeypatch, capsys):
    def failing(arguments):
        raise LookupError(EVIL)

    monkeypatch.setattr(program, "build_parser", failing)
    assert main(["phases"]) == 1
    sentence, *trace = capsys.readouterr().err.splitlines()
    assert (sentence[:27], {line[:4] for line in trace}) == (r"error: LookupError: \x1b]0;", {"  | "})
    assert steering("\n".join([sentence, *trace]).encode()) == []


def test_main_marks_lines_that_others_printed(monkeypatch, capsys):
    def failing(arguments):
        error = ConfigError("it fails.")
        error.add_note(f"The last lines it printed:\n{FORGED}\x1b[2J")
        raise error

    monkeypatch.setattr(program, "build_parser", failing)
    assert main(["phases"]) == 2
    lines = ["error: it fails.", "  | The last lines it printed:", rf"  | {FORGED}\x1b[2J"]
    assert capsys.readouterr().err.splitlines() == lines


def test_a_failed_training_s_own_lines_are_no_part_of_the_message(tmp_path):
    (tmp_path / LOG).write_text(f"one\n{FORGED}\n")
    error = _failure(
        TrainingOrder("pkg:build", False, steps=1, every=1, seed=0, keep=None, parent=0, import_path=()), tmp_path, 3
    )
    assert (FORGED in str(error), error.__notes__) == (False, [f"The last lines it printed:\none\n{FORGED}"])


def test_print_json_is_ascii_without_controls(capsys):
    value = {EVIL: [EVIL_NAME]}
    print_json(value)
    text = capsys.readouterr().out
    assert (steering(text.encode()), text.isascii(), json.loads(text)) == ([], True, value)


REQUESTS = {
    "library": b"GET /_dash-component-suites/a%0averdict%3a%20grokking%0d%1b%5b2J/b.js HTTP/1.1\r\nHost: HERE\r\n\r\n",
    "path": b"GET /%0a" + FORGED.replace(" ", "%20").encode() + b"%1b%5b2J%9b HTTP/1.1\r\nHost: HERE\r\n\r\n",
    "query": b"GET /?a=%0d%0averdict%3a%20grokking%1b HTTP/1.1\r\nHost: HERE\r\n\r\n",
    "raw path": b"GET /\x1b[2J\x9b\x07 HTTP/1.1\r\nHost: HERE\r\n\r\n",
    "host": b"GET / HTTP/1.1\r\nHost: a\x1b]0;owned\x07\r\n\r\n",
    "folded header": b"GET / HTTP/1.1\r\nHost: HERE\r\nUser-Agent: a\r\n verdict: grokking\x1b\r\n\r\n",
    "no request": FORGED.encode() + b"\x1b[2J\r\n\r\n",
}


def asked(name: str) -> bytes:
    """A request that Dash cannot answer, for an output of this name."""
    output = {"id": name, "property": name}
    body = json.dumps({"output": f"{name}.{name}", "outputs": output, "inputs": [], "changedPropIds": [name]}).encode()
    head = "POST /_dash-update-component HTTP/1.1\r\nHost: HERE\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> tuple[bytes, bytes]:
    """Standard output and log of a `watch` that was sent every request once, over a bare socket."""
    command = [sys.executable, "-m", "lightning_interp.cli.main", "watch", "--port", "0"]
    run_dir = make_hostile_run(tmp_path_factory.mktemp("runs"), EVIL)
    process = subprocess.Popen([*command, str(run_dir)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        port = int(first.split(b":")[-1].split(b"/")[0])
        for request in (*REQUESTS.values(), asked(EVIL)):
            with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
                connection.sendall(request.replace(b"HERE", f"127.0.0.1:{port}".encode()))
                assert connection.recv(2**16).startswith(b"HTTP/1.")
        time.sleep(0.2)  # what is logged after an answer
        process.send_signal(signal.SIGINT)
        out, log = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    return first + out, log


def test_watch_prints_nothing_that_steers_a_terminal(watched):
    assert (steering(watched[0]), steering(watched[1])) == ([], [])


def test_watch_logs_no_line_that_a_request_wrote(watched):
    lines = watched[1].decode().splitlines()
    assert {line[:16] for line in lines} == {"interp: warning:", "Interrupted."}
    assert len(lines) <= len(REQUESTS) + 2


def test_watch_logs_what_it_could_not_answer(watched):
    assert rb'a request could not be answered (DependencyException: Error loading dependency. "a\nverdict:' in watched[1]
    assert b"(KeyError: " in watched[1]
