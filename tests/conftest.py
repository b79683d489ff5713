# SPDX-License-Identifier: Apache-2.0
"""What every test shares: an untouched environment, an empty working directory, and `--resume-file` for long runs.

`pytest -m verify --resume-file=FILE` skips tests that passed before with the same sources, so that an interrupted
`make verify` goes on where it stopped. FILE holds one entry for each hash of the tracked sources.
"""

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).parents[1]
SOURCES = ("lightning_interp", "tests", "examples", "pyproject.toml", "constraints.txt")

# Doctests are looked for by importing every file: this one takes parts of the system away from whoever imports it.
collect_ignore = ["support/lesser_system"]

# At import, so that what a whole module shares has it, too. Analyzers of tests that run side by side do not take turns, as
# those of a sweep would, and W&B's service may take longer to start than users would wait. W&B remembers for a whole process
# in which mode the first run began. A report takes seconds, so that only tests that look at reports have them written.
os.environ |= {"LIGHTNING_INTERP_ANALYZERS": "1000", "LIGHTNING_INTERP_REPORT": "0"}
os.environ |= {"WANDB_MODE": "offline", "WANDB__SERVICE_WAIT": "300"}
# Tests run side by side, one on each core: a second thread each would wait for a core that another test has, and torch waits
# by spinning. Analyzers and trainings that tests start have it from here.
os.environ["OMP_NUM_THREADS"] = "1"

# Jobs that a shell starts with `&` ignore Ctrl-C, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is the machine's business.
settings.register_profile("any_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any_machine")


@pytest.fixture(autouse=True)
def untouched_environment() -> Iterator[None]:
    """Put every environment variable back; WandbLogger(offline=True), for one, sets WANDB_MODE and leaves it."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(autouse=True)
def empty_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test where nothing lies: loggers and run directories default to the working directory."""
    monkeypatch.chdir(tmp_path)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--resume-file``."""
    parser.addoption("--resume-file", type=Path, help="remember passed tests, skip them while sources are unchanged")


def pytest_configure(config: pytest.Config) -> None:
    """Start remembering where ``--resume-file`` is given."""
    if path := config.getoption("--resume-file"):
        # Processes of `-n 2` take the same tests out as the one that started them, also one that takes another's place.
        given = getattr(config, "workerinput", {}).get("resume_passed")
        resume = Resume(path.absolute(), source_hash(), passed=given)
        config.pluginmanager.register(resume, "lightning_interp_resume")


def source_hash() -> str:
    """SHA-256 over names and contents of the sources git knows or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *SOURCES]
    listing = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True).stdout
    digest = hashlib.sha256()
    for name in sorted(filter(None, listing.decode().split("\0"))):
        path = REPOSITORY / name
        content = path.read_bytes() if path.is_file() else b""
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


class Resume:
    """Skips what passed under the same sources, and writes down each test as it passes.

    Args:
        path: JSON file ``{"sources": hash, "passed": [nodeid, ...]}``.
        sources: Hash of the sources now.
        passed: What passed before as another process read it; this one then writes nothing. None: read and write the file.
    """

    def __init__(self, path: Path, sources: str, *, passed: list[str] | None = None) -> None:
        self.path = path
        self.sources = sources
        self.writes = passed is None
        self.passed = self._load() if passed is None else passed
        self.passed_before = list(self.passed)
        self.called: set[str] = set()
        self.skipped = 0

    def _load(self) -> list[str]:
        if not self.path.exists():
            return []
        kept = json.loads(self.path.read_text(encoding="utf-8"))
        return list(kept["passed"]) if kept["sources"] == self.sources else []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Take out what passed before; trylast, so that ``-m`` has chosen already."""
        done = [item for item in items if item.nodeid in set(self.passed)]
        self.skipped = len(done)
        if done:
            config.hook.pytest_deselected(items=done)
            items[:] = [item for item in items if item not in done]

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a process of `-n 2` what to take out."""
        node.workerinput["resume_passed"] = self.passed_before

    def pytest_report_collectionfinish(self) -> str:
        """One line that says what is not run again."""
        return f"resume: {self.skipped} tests passed before with these sources and are skipped ({self.path})"

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Nothing left to run because all of it passed is a success, not `no tests collected`."""
        if self.skipped and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = pytest.ExitCode.OK

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write the test down once its call and its clean-up passed."""
        if not self.writes:
            return
        if report.when == "call" and report.passed:
            self.called.add(report.nodeid)
        elif report.when == "teardown" and report.passed and report.nodeid in self.called:
            self._save(report.nodeid)

    def _save(self, nodeid: str) -> None:
        self.passed.append(nodeid)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".tmp")  # renamed when whole, so that a kill leaves the former file
        partial.write_text(json.dumps({"sources": self.sources, "passed": self.passed}, indent=1), encoding="utf-8")
        partial.replace(self.path)
