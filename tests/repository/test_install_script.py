# SPDX-License-Identifier: Apache-2.0
"""`.ci/venv` with interpreters that install nothing: what it says when something fails, and what it leaves and takes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
INTERPRETER = """\
#!/bin/sh
# Makes a .venv with a copy of itself in it, installs nothing, is Python in all else.
echo "$*" >>calls
case "$1 $2" in
    "-m venv")
        rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python
        if [ -e no-ensurepip ]; then
            echo "The virtual environment was not created successfully because ensurepip is not"
            echo "available: apt install python3-venv"
            exit 1
        fi
        touch .venv/pip ;;
    "-m pip")
        if [ ! -e .venv/pip ]; then echo "No module named pip" >&2; exit 1; fi
        if [ "$3" = install ]; then while [ -e slow ]; do touch installing; sleep 0.05; done; fi ;;
    *) exec {python} "$@" ;;
esac
"""


class Checkout:
    """A folder with what `.ci/venv` reads, and an interpreter for it."""

    def __init__(self, folder: Path, moved_from: Path | None = None) -> None:
        self.folder = folder
        self.python = folder / "my python" / "python3"
        if moved_from is None:
            self._lay_out()
        else:
            moved_from.rename(folder)
        self.started: list[subprocess.Popen[str]] = []

    def _lay_out(self) -> None:
        (self.folder / ".ci").mkdir(parents=True)
        shutil.copy(REPOSITORY / ".ci" / "venv", self.folder / ".ci" / "venv")
        for name in ("pyproject.toml", "constraints.txt"):
            shutil.copy(REPOSITORY / name, self.folder / name)
        self.python.parent.mkdir()
        self.python.write_text(INTERPRETER.replace("{python}", f"'{sys.executable}'"), encoding="utf-8")
        self.python.chmod(0o755)

    def start(self, purpose: str = "demo") -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [str(self.folder / ".ci" / "venv"), purpose],
            env={**os.environ, "PYTHON": str(self.python)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """Whatever a test that failed left running."""
        for process in self.started:
            process.terminate()
            process.communicate(timeout=30)

    def run(self, purpose: str = "demo") -> tuple[int, str, str]:
        process = self.start(purpose)
        said, complained = process.communicate(timeout=60)
        return process.returncode, said, complained

    def calls(self, beginning: str) -> list[str]:
        """Calls of the interpreter that begin so, since the last time."""
        path = self.folder / "calls"
        found = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [line for line in found if line.startswith(beginning)]

    def until_it_installs(self) -> None:
        deadline = time.monotonic() + 30
        while not (self.folder / "installing").exists():
            assert time.monotonic() < deadline, "pip was not called"
            time.sleep(0.02)


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    checkout = Checkout(tmp_path / "a checkout")
    yield checkout
    checkout.end()


@pytest.fixture(scope="module")
def set_up(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, Path]:
    """A checkout set up for `demo`, with the calls of that forgotten, and a copy of it."""
    folder = tmp_path_factory.mktemp("set_up")
    checkout = Checkout(folder / "a checkout")
    code, _, complained = checkout.run()
    assert code == 0, complained
    assert len(checkout.calls("-m pip install")) == 2
    shutil.copytree(checkout.folder, folder / "kept")
    return checkout, folder / "kept"


@pytest.fixture
def ready(set_up: tuple[Checkout, Path]) -> Checkout:
    """Set up for `demo` where it lies; put back for each test."""
    checkout, kept = set_up
    shutil.rmtree(checkout.folder, ignore_errors=True)
    shutil.copytree(kept, checkout.folder)
    return checkout


def test_venv_takes_paths_with_spaces(checkout: Checkout) -> None:
    code, said, complained = checkout.run()
    assert (code, complained) == (0, "")
    assert "creating .venv with Python" in said


def test_venv_shows_why_it_could_not_be_created(checkout: Checkout) -> None:
    (checkout.folder / "no-ensurepip").touch()
    for _ in range(2):  # what the first attempt left does not hide the reason from the second
        code, _, complained = checkout.run()
        assert code == 1
        assert "available: apt install python3-venv" in complained


def test_venv_without_pip_is_made_anew(ready: Checkout) -> None:
    (ready.folder / ".venv" / "pip").unlink()
    code, said, _ = ready.run("test")
    assert code == 0 and "the old one has no pip that works" in said
    assert len(ready.calls("-m venv")) == 1


@pytest.mark.parametrize("kept", ["#!/no/such/python\n", "#!/bin/sh\nexit 1\n"], ids=["gone", "too old"])
def test_venv_whose_python_does_not_serve_is_made_anew(ready: Checkout, kept: str) -> None:
    (ready.folder / ".venv" / "bin" / "python").write_text(kept, encoding="utf-8")
    code, said, _ = ready.run()
    assert code == 0 and "Python is gone or older than 3.11" in said
    assert len(ready.calls("-m venv")) == 1


def test_venv_of_another_folder_is_made_anew(ready: Checkout) -> None:
    moved = Checkout(ready.folder.with_name("moved"), ready.folder)
    code, said, _ = moved.run()
    assert code == 0 and "made in another folder" in said


def test_venv_that_is_ready_is_left_alone(ready: Checkout) -> None:
    assert ready.run() == (0, "", "")
    assert not ready.calls("-m")


def test_venv_is_not_taken_from_under_another_purpose(ready: Checkout) -> None:
    code, _, _ = ready.run("docs")
    calls = ready.calls("-m")
    assert code == 0 and not [call for call in calls if "-m venv" in call or "--editable" in call]
    assert calls[-1].endswith(" lightning-interp[docs]")


def test_venv_installs_the_package_again_when_its_versions_change(ready: Checkout) -> None:
    with (ready.folder / "constraints.txt").open("a", encoding="utf-8") as file:
        file.write("# newer\n")
    code, _, _ = ready.run("docs")
    assert code == 0 and ready.calls("-m pip install")[-1].endswith(" --editable .[docs]")
    assert ready.run("demo")[1], "demo has other versions now, too"


def test_second_venv_waits_for_the_first(checkout: Checkout) -> None:
    (checkout.folder / "slow").touch()
    first = checkout.start()
    checkout.until_it_installs()
    second = checkout.start()
    assert second.stdout is not None
    assert second.stdout.readline() == "waiting: another make is setting up .venv\n"
    assert first.poll() is None
    (checkout.folder / "slow").unlink()
    assert (*second.communicate(timeout=60), second.returncode) == ("", "", 0)
    assert first.wait(timeout=60) == 0
    assert len(checkout.calls("-m venv")) == 1


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_venv_that_was_broken_off_is_made_anew(checkout: Checkout, end: signal.Signals) -> None:
    (checkout.folder / "slow").touch()
    first = checkout.start()
    checkout.until_it_installs()
    first.send_signal(end)
    first.communicate(timeout=30)
    assert first.returncode == 128 + end
    (checkout.folder / "slow").unlink()
    code, said, _ = checkout.run()
    assert code == 0 and "the last installation was broken off" in said


def test_venv_says_that_no_python_is_new_enough(checkout: Checkout) -> None:
    checkout.python.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    code, _, complained = checkout.run()
    assert code == 2 and f"none of these is: {checkout.python}" in complained
