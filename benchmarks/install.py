# SPDX-License-Identifier: Apache-2.0
"""What an installation takes: megabytes and packages of the base and of each extra, and seconds until an import is done.

A fresh virtual environment gets torch first, then the package, then one extra after the other; each row counts what is new
against the row before it, so that what two extras share counts for the first. Files that python compiles are not counted.
Imports are timed in processes of their own, in turns (one of each kind, then again), with `import torch` and
`import lightning` beside them.

Run as ``python benchmarks/install.py [--repeats 9] [--only-imports] [--json FILE]``. TORCH_FLAGS adds flags to the
installation of torch, as for make; torch is the one that constraints.txt names.
"""

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
EXTRAS = ("cli", "dashboards", "workspace", "checkpoints", "export", "ray")
LISTED = """
import json
from importlib.metadata import distributions
found = {}
for each in distributions():
    paths = [each.locate_file(file) for file in each.files or () if file.suffix != ".pyc"]
    found[each.name.lower().replace("_", "-")] = sum(path.stat().st_size for path in paths if path.is_file())
print(json.dumps(found))
"""
"""Bytes of every package of an environment, by name."""


def packages(python: Path) -> dict[str, int]:
    """Bytes of every package in an environment, by name."""
    done = subprocess.run([python, "-c", LISTED], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def torch_pin() -> str:
    """The version of torch that is tested, as a requirement."""
    text = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8")
    return re.findall(r"^torch==\S+$", text, flags=re.MULTILINE)[0]


def report_sizes() -> dict[str, Any]:
    """The first table: what the base and each extra bring, at the newest versions."""
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        subprocess.run([sys.executable, "-m", "venv", root / "venv"], check=True)
        (root / "torch.txt").write_text(torch_pin())
        python = root / "venv" / "bin" / "python"
        pip = [python, "-m", "pip", "install", "--quiet", "--no-input", "--constraint", root / "torch.txt"]
        wheel = built(python, root)
        stages = {"torch": [*shlex.split(os.environ.get("TORCH_FLAGS", "")), torch_pin()], "base": [str(wheel)]}
        stages |= {f"[{extra}]": [f"lightning-interp[{extra}] @ file://{wheel}"] for extra in EXTRAS}
        before = packages(python)
        print("\ninstalled, in this order     packages       MB   the largest")
        for name, wanted in stages.items():
            subprocess.run([*pip, *wanted], check=True)
            after = packages(python)
            new = {each: after[each] - before.get(each, 0) for each in after if after[each] != before.get(each)}
            largest = sorted(new.items(), key=lambda item: -item[1])[:4]
            told = ", ".join(f"{each} {size / 1e6:.0f}" for each, size in largest)
            rows[name] = {"packages": len(after) - len(before), "mb": sum(new.values()) / 1e6, "largest": dict(largest)}
            print(f"{name:<28} {rows[name]['packages']:8d} {rows[name]['mb']:8.1f}   {told}", flush=True)
            before = after
    return rows


def built(python: Path, root: Path) -> Path:
    """This package as a wheel, built from a copy: a build in place would leave a folder that later builds take over."""
    copy = root / "source"
    copy.mkdir()
    for found in (REPOSITORY / name for name in ("pyproject.toml", "README.md", "LICENSE", "lightning_interp")):
        (shutil.copytree if found.is_dir() else shutil.copy)(found, copy / found.name)
    subprocess.run([python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", root, copy], check=True)
    return next(root.glob("lightning_interp-*.whl"))


def timed_commands() -> dict[str, list[str]]:
    """What is timed, by name: each a process of its own."""
    imports = {
        "python alone": "pass",
        "import torch": "import torch",
        "import lightning": "import lightning",
        "import lightning_interp": "import lightning_interp",
        "from lightning_interp import InterpMonitor": "from lightning_interp import InterpMonitor",
        "the same after import lightning": "import lightning; from lightning_interp import InterpMonitor",
    }
    commands = {name: [sys.executable, "-c", code] for name, code in imports.items()}
    program = [sys.executable, "-c", "from lightning_interp.cli.main import main; main()"]
    return commands | {
        "lightning-interp --help": [*program, "--help"],
        "lightning-interp phases --help": [*program, "phases", "--help"],
    }


def report_imports(repeats: int) -> dict[str, Any]:
    """The second table: seconds of whole processes, taken in turns; the first round only fills the disk's cache."""
    commands = timed_commands()
    took: dict[str, list[float]] = {name: [] for name in commands}
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    for number in range(repeats + 1):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if number:
                took[name].append(time.perf_counter() - began)
    print(f"\nwhole processes, median of {repeats} [least .. greatest], s")
    for name, values in took.items():
        print(f"  {name:<44} {statistics.median(values):6.2f} [{min(values):.2f} .. {max(values):.2f}]")
    return took


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9, help="processes of each kind")
    parser.add_argument("--only-imports", action="store_true", help="install nothing")
    parser.add_argument("--json", type=Path, help="write all numbers here, too")
    options = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "lightning"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}")
    found: dict[str, Any] = {"imports": report_imports(options.repeats)}
    if not options.only_imports:
        found["sizes"] = report_sizes()
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
