# SPDX-License-Identifier: Apache-2.0
"""The `phases` command, and the program around the commands."""

import json
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from lightning_interp.cli import main as program
from lightning_interp.cli.main import main
from lightning_interp.core.timeline import Timeline

REFERENCE = Path(__file__).parents[1] / "data" / "modular_addition_p113.csv"


def run_json(capsys, *arguments):
    assert main(["phases", *map(str, arguments), "--json"]) == 0
    return Timeline.from_dict(json.loads(capsys.readouterr().out))


def test_phases_json_of_the_reference_run_is_a_timeline(capsys):
    assert run_json(capsys, REFERENCE).verdict == "grokking"


def test_phases_json_with_two_loss_columns_keeps_the_boundaries(capsys, tmp_path):
    rows = [line.split(",")[:3] for line in REFERENCE.read_text().splitlines()]
    path = tmp_path / "losses.csv"
    path.write_text("\n".join(",".join(row) for row in rows))
    starts = {phase.name: phase.start for phase in run_json(capsys, path).phases}
    # argmin of the excluded loss 1,500; held-out loss under ln 113 from 9,800; solved at 10,900, flat by eye from 13,000
    assert 1300 <= starts["circuit_formation"] <= 1700 and 8500 <= starts["cleanup"] <= 10_000
    assert 10_800 <= starts["converged"] <= 13_500


def test_phases_classes_set_the_chance_level(capsys):
    assert run_json(capsys, REFERENCE, "--classes", "113").evidence["chance"]["source"] == "ln C, C = 113"


def test_phases_text_shows_mapping_verdict_and_table(capsys):
    assert main(["phases", str(REFERENCE)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "test_loss → heldout_loss" in text and "Verdict: grokking" in text and "12,500–12,700" in text


def test_phases_text_says_what_is_not_known(capsys, tmp_path):
    path = tmp_path / "short.csv"
    path.write_text("step,train_loss\n0,2\n1,1\n")
    assert main(["phases", str(path)]) == 0
    assert "Not known: No held-out data" in " ".join(capsys.readouterr().out.split())


def test_phases_prints_column_names_without_markup(capsys, tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text("step,train_loss,[red]x[/blue]\n0,2,1\n1,1,1\n")
    assert main(["phases", str(path)]) == 0
    assert "[red]x[/blue]" in capsys.readouterr().out


def test_phases_figure_is_written_and_json_stays_alone(capsys, tmp_path):
    run_json(capsys, REFERENCE, "--figure", tmp_path / "phases.html")
    assert "plotly" in (tmp_path / "phases.html").read_text(encoding="utf-8").lower()


def test_phases_figure_that_cannot_be_written_is_bad_input(capsys, tmp_path):
    assert main(["phases", str(REFERENCE), "--figure", str(tmp_path / "no" / "x.html")]) == 2
    assert "--figure" in capsys.readouterr().err


def test_phases_reads_a_run_directory_with_its_classes(capsys, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"schema": 1, "n_classes": 59}))
    lines = [json.dumps({"step": i, "attempt": 0, "values": {"train_loss": 4.0, "heldout_loss": 4.0}}) for i in range(12)]
    (tmp_path / "records.jsonl").write_text("\n".join(lines) + "\n")
    assert run_json(capsys, tmp_path).evidence["chance"]["source"] == "ln C, C = 59"


def test_phases_of_a_run_directory_drops_what_a_resume_took_back(capsys, tmp_path):
    attempts = [{"attempt": 0, "resumed_at": None}, {"attempt": 1, "resumed_at": 5}]
    (tmp_path / "run.json").write_text(json.dumps({"schema": 1, "attempts": attempts}))
    lines = [json.dumps({"step": i, "attempt": 0, "values": {"train_loss": 4.0}}) for i in range(12)]
    (tmp_path / "records.jsonl").write_text("\n".join(lines) + "\n")
    assert run_json(capsys, tmp_path).evidence["points"] == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["phases", "nothing.csv"], "no such file"),
        (["phases", str(REFERENCE), "--classes", "1"], "from 2 on, got '1'"),
        (["phases"], "FILE"),
        (["nonsense"], "invalid choice"),
        ([], "COMMAND"),
    ],
)
def test_main_returns_2_for_bad_input(capsys, arguments, message):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert (message in captured.err, captured.out) == (True, "")


def test_main_returns_130_when_interrupted(monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "build_parser", interrupted)
    assert (main(["phases"]), capsys.readouterr().err) == (130, "Interrupted.\n")


def test_main_ends_quietly_when_the_reader_leaves():
    command = f"{sys.executable} -m lightning_interp.cli.main phases {REFERENCE} --classes 113 --json | head -c 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "{", "")


def test_main_stops_on_ctrl_c_with_one_line(tmp_path):
    table = tmp_path / "long.csv"
    table.write_bytes(b"step,train_loss\n" + b"1,0.5\n" * 10_000_000)  # takes far longer to read than the signal to come
    command = [sys.executable, "-m", "lightning_interp.cli.main", "phases", str(table)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            wait_until_open(table, process.pid)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=100)
        finally:
            process.kill()
    assert (process.returncode, errors) == (130, "Interrupted.\n")


def wait_until_open(path, process):
    """Return once another process has a file open."""
    deadline = time.monotonic() + 100
    while not any(leads_to(each, path) for each in Path(f"/proc/{process}/fd").iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def leads_to(link, path):
    try:
        return link.readlink() == path
    except FileNotFoundError:  # closed in between
        return False


@pytest.mark.parametrize("arguments", [["--help"], ["phases", "--help"], ["--version"]])
def test_help_loads_no_heavy_package(arguments):
    code = (
        "import sys; from lightning_interp.cli.main import main; code = main(sys.argv[1:]); "
        "print(code, [m for m in ('torch', 'lightning', 'wandb', 'numpy', 'plotly', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_help_takes_little_processor_time():
    code = (
        "import time; from lightning_interp.cli.main import main; main(['--help']); "
        "print(time.process_time())"  # counts from the start of the interpreter
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout.splitlines()[-1]) < 2.0  # for a slow core; the test above tells what is loaded


def test_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lightning-interp ")


def test_phases_states_shows_the_stretches_of_a_run(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["phases", str(REFERENCE), "--states"]) == 0
    printed = capsys.readouterr().out
    assert "what stands out" in printed and "train loss very high" in printed and "open" in printed


def test_infinity_as_mlflow_keeps_it_is_a_divergence(capsys, tmp_path):
    """The server's database keeps infinity as the largest number it has."""
    rows = [(step, 2.3 * 0.5 ** (step / 400), 2.3 * 0.6 ** (step / 400)) for step in range(0, 4000, 100)]
    rows += [(step, 1.797e308, 1.797e308) for step in range(4000, 5000, 100)]
    table = tmp_path / "metrics.csv"
    table.write_text("step,train_loss,val_loss\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = run_json(capsys, table)
    assert (found.verdict, found.stages[-1].name) == ("diverged", "collapse")
    assert "converged" not in [phase.name for phase in found.phases]
