# SPDX-License-Identifier: Apache-2.0
"""Virtual environments made from nothing, with this package installed as users install it."""

import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "lightning_interp")
EXTRAS = ("dashboards", "workspace", "checkpoints", "export", "ray", "cli")
"""What `all` stands for."""
INSTALL_S = 1200


def project() -> dict[str, dict[str, list[str]]]:
    """The table `[project]` of pyproject.toml."""
    return dict(tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"])


def requirements(extras: Iterable[str] = ()) -> list[Requirement]:
    """What the package and some of its extras ask for."""
    table = project()
    texts = [*table["dependencies"], *(text for extra in extras for text in table["optional-dependencies"][extra])]
    return [Requirement(text) for text in texts]


def lower_bounds() -> dict[str, str]:
    """The least version of everything that users install, by name."""
    bounds = {
        requirement.name: spec.version
        for requirement in requirements(EXTRAS)
        for spec in requirement.specifier
        if spec.operator == ">="
    }
    return bounds | {"pytorch-lightning": bounds["lightning"]}  # its twin, which `lightning` brings in any version


def pinned_torch() -> str:
    """The version of torch that constraints.txt names."""
    text = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8")
    return re.findall(r"^torch==(\S+)$", text, flags=re.MULTILINE)[0]


class FreshEnvironment:
    """A virtual environment with torch, and nothing else yet.

    Args:
        folder: Where it is made; does not exist yet.
        python: The interpreter it is made with.
        pins: Versions that whatever is installed must keep to, by name; torch is the tested one where it is not among them.
    """

    def __init__(self, folder: Path, python: str, pins: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.pins = {"torch": pinned_torch()} | (pins or {})
        self.call([python, "-m", "venv", folder])
        self.constraints = folder / "pins.txt"
        self.constraints.write_text("".join(f"{name}=={version}\n" for name, version in self.pins.items()))
        # By name and first, with the flags that make uses: another build of torch than that may bring gigabytes.
        self.pip("install", *shlex.split(os.environ.get("TORCH_FLAGS", "")), f"torch=={self.pins['torch']}")

    def pip(self, command: str, *arguments: str | Path) -> str:
        """Run pip in the environment; what it says on standard output."""
        quiet = ["--quiet", "--no-input", "--disable-pip-version-check"]
        held = ["--constraint", self.constraints] if command == "install" else []
        return self.call([self.bin / "python", "-m", "pip", command, *quiet, *held, *arguments])

    def install_ours(self, *arguments: str, extras: Sequence[str] = ()) -> None:
        """Install this package from a copy: a build in place would leave a folder that later builds take over."""
        copy = self.folder / "source"
        copy.mkdir(exist_ok=True)
        for name in SOURCES:
            found = REPOSITORY / name
            if found.is_dir():
                shutil.copytree(found, copy / name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            else:
                shutil.copy(found, copy / name)
        self.pip("install", *arguments, f"{copy}[{','.join(extras)}]" if extras else str(copy))
        shutil.rmtree(copy)

    def has(self, module: str) -> bool:
        """Whether a module can be found."""
        code = f"from importlib.util import find_spec; print(find_spec({module!r}) is not None)"
        return self.call([self.bin / "python", "-c", code]).strip() == "True"

    def call(self, command: Sequence[str | Path], *, cwd: Path | None = None, expect: int = 0) -> str:
        """Run a command that sees neither this repository nor these tests' own settings; what it printed.

        Standard output where it ends as expected, both streams in the error where not.
        """
        hidden = ("PYTHONPATH", "PYTEST_", "VIRTUAL_ENV", "WANDB__")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        where = self.folder.parent if cwd is None else cwd
        ended = subprocess.run(
            [str(part) for part in command], cwd=where, env=environment, capture_output=True, text=True, timeout=INSTALL_S
        )
        said = "\n".join(map(without_logins, (ended.stdout, ended.stderr)))  # the end of each: neither hides the other's
        assert ended.returncode == expect, f"{Path(command[0]).name} exited {ended.returncode}: {said}"
        return ended.stdout + ended.stderr if expect else ended.stdout


def without_logins(text: str) -> str:
    """The end of what a command said, without the user names and passwords of addresses."""
    return re.sub(r"//[^/@\s]+@", "//…@", text)[-4000:]
