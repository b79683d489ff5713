# SPDX-License-Identifier: Apache-2.0
"""Claim: files that other people's tools leave are answered rightly, or refused with the way out.

    python benchmarks/other_files.py FOLDER      # with the folders metrics, metrics2, ckpt and live of such files

Each input goes through the command line as a user would give it. A right answer is written in other_parts/answers.json
before anything is run: a verdict (with the kind of steps), norms of the weights by step, losses, or the words a refusal
must have.
"""

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.progress import track

ANSWERS = Path(__file__).parent / "other_parts" / "answers.json"
TIMEOUT_S = 120


def command(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command line, as it is installed here, in a folder."""
    search = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": search, "COLUMNS": "2000"}
    program = [sys.executable, "-m", "lightning_interp.cli.main", *arguments]
    return subprocess.run(
        program, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=environment, cwd=folder
    )


def answer(name: str, expected: Mapping[str, Any], root: Path) -> str | None:
    """What is wrong with the answer to one input; None if it is right."""
    if name.startswith("metrics"):
        return _metrics(name, expected, root)
    if name.startswith("ckpt"):
        return _checkpoints(name, expected, root)
    done = subprocess.run(
        [sys.executable, str(root / name), *expected.get("arguments", ())],
        capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}, cwd=tempfile.mkdtemp(),
    )  # fmt: skip
    missing = [each for each in expected["prints"] if not re.search(each, done.stdout)]
    return f"does not print {missing[0]}" if missing else None


def _metrics(name: str, expected: Mapping[str, Any], root: Path) -> str | None:
    done = command("phases", name, "--json", *expected.get("arguments", ()), folder=root)
    if wrong := _refusal(done, expected):
        return wrong
    if "refused" in expected:
        return None
    found = json.loads(done.stdout)
    told = {
        "verdict": found["verdict"],
        "axis": found["axis"],
        "stages_end": found["stages"][-1]["name"] if found["stages"] else "",
    }
    differing = [f"{key} {told[key]}" for key in told if key in expected and told[key] != expected[key]]
    return ", ".join(differing) or None


def _checkpoints(name: str, expected: Mapping[str, Any], root: Path) -> str | None:
    from lightning_interp import open_run

    with tempfile.TemporaryDirectory() as made:
        out = Path(made) / "out"
        arguments = ["--out", str(out), "--device", "cpu", *expected.get("arguments", ())]
        done = command("analyze", Path(name).name, *arguments, folder=root / "ckpt")
        if wrong := _refusal(done, expected):
            return wrong
        if "refused" in expected:
            return None
        run = open_run(out)
        for record in ("weight_norm", "train_loss"):
            steps, values = (each.tolist() for each in run.records(record)) if record in expected else ([], [])
            told = {str(int(step)): value for step, value in zip(steps, values, strict=True)}
            wanted = expected.get(record, {})
            if told.keys() != wanted.keys() and record == "weight_norm":
                return f"{record} at steps {sorted(map(int, told))}"
            if not all(math.isclose(told.get(step, math.nan), value, rel_tol=1e-4) for step, value in wanted.items()):
                return f"{record} {told}"
        untrusted = sorted(map(int, run.analysis.get("untrusted", {})))
        return None if untrusted == expected.get("untrusted", untrusted) else f"distrusts {untrusted}"


def _refusal(done: subprocess.CompletedProcess[str], expected: Mapping[str, Any]) -> str | None:
    said = " ".join(done.stderr.split())
    if "Traceback" in said:
        return "traceback"
    if "refused" in expected:
        if done.returncode != 2:
            return f"exit code {done.returncode}, not refused"
        return None if re.search(expected["refused"], said) else f"refused without its words: {said[-120:]}"
    if done.returncode:
        return f"refused: {said[-160:]}"
    missing = [each for each in expected.get("says", ()) if not re.search(each, said + done.stdout)]
    return f"does not say {missing[0]}" if missing else None


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="without one nothing is measured, and that is said")
    folder = parser.parse_args().folder
    if folder is None:
        print("no folder of files was given, so nothing was measured")
        return
    answers = json.loads(ANSWERS.read_text(encoding="utf-8"))
    there = {name: expected for name, expected in answers.items() if (folder / name).exists()}
    rows = [(name, expected, answer(name, expected, folder.resolve())) for name, expected in track(there.items(), "files")]
    print("| input | right answer | answered |\n|---|---|---|")
    for name, expected, wrong in rows:
        right = expected.get("words", expected.get("verdict", "norms of the weights"))
        right = f"refused: {expected['refused']}" if "refused" in expected else right
        print(f"| {name} | {right} | {'as it should be' if wrong is None else f'**{wrong}**'} |")
    count = sum(wrong is None for *_, wrong in rows)
    print(f"\n{count} of {len(rows)} right; {len(answers) - len(there)} are not in the folder.")


if __name__ == "__main__":
    main()
