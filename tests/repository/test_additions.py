# SPDX-License-Identifier: Apache-2.0
"""How many files an addition touches: each kind is really made, in a copy of the package, and shown to be enough."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "lightning_interp"
TEST = 1
"""Each addition brings one file of tests besides."""

NEW_FILES = {
    "measure": {
        "measures/toy.py": """
from lightning_interp.measures.base import Measure
from lightning_interp.measures.label import Label

class Toy(Measure):
    name, names, needs = "toy", {"toy": Label("how toyish", "toys", section="sparsity")}, frozenset({"weights"})

    def __call__(self, observation):
        return {"toy": 1.0}
"""
    },
    "figure": {
        "dashboards/figures/toy.py": """
import plotly.graph_objects as go

def toy_figure(run):
    return go.Figure(go.Scatter(y=[run.last_step]))
"""
    },
    "logger": {
        "dashboards/loggers/toy.py": """
from lightning_interp.dashboards.loggers.logger_adapter import LoggerAdapter

class ToyAdapter(LoggerAdapter):
    def alert(self, title, text):
        self.logger.told.append(title)
"""
    },
    "source": {
        "sources/metrics/toy.py": """
def matches(path):
    return path if path.suffix == ".toy" else None

def rows(path, resumed):
    return iter([(1, 7, [("val_loss", path.read_text())])])
"""
    },
    "option": {},
}
FIGURES, LOGGERS = "lightning_interp.dashboards.figures", "lightning_interp.dashboards.loggers"
EDITS = {
    "measure": {
        "measures/registry.py": [
            ("from lightning_interp.measures.margins", "from lightning_interp.measures.toy import Toy\n"),
            ("    WeightSketch,\n)", "    Toy,\n"),
        ]
    },
    "figure": {
        "dashboards/figures/catalog.py": [
            (f"from {FIGURES}.trajectory", f"from {FIGURES}.toy import toy_figure\n"),
            (
                "    return found\n",
                '    found.append(Panel("toy", "A toy", "Its words.", "phases", partial(toy_figure, run)))\n',
            ),
        ]
    },
    "logger": {
        "dashboards/loggers/logger_set.py": [
            (f"from {LOGGERS}.wandb", f"from {LOGGERS}.toy import ToyAdapter\n"),
            ('    "MLFlowLogger"', '    "ToyLogger": ToyAdapter,\n'),
        ]
    },
    "source": {
        "sources/metrics/registry.py": [('    Listed("JSONL"', '    Listed("Toy", "a toy", f"{__package__}.toy"),\n')]
    },
    "option": {
        "core/request.py": [("    strict: bool = False\n", "    toyish: bool = False\n")],
        "analysis/orders.py": [("    if left_out:\n", "    analyzer.toyish = order.request.toyish\n")],
    },
}
"""What is put before the first place with such a text, by file."""
MOST = {"measure": 3, "figure": 4, "logger": 4, "source": 3, "option": 2 + TEST}

SHOWN = {
    "measure": """
from lightning_interp.dashboards.figures.labels import drawn_in, label_for
from lightning_interp.dashboards.loggers.sections import known_names
from lightning_interp.measures import resolve_measures
assert "toy" in [measure.name for measure in resolve_measures("standard")]
assert label_for("toy").title == "how toyish (toys)" and "toy" in drawn_in("sparsity") and "toy" in known_names()
""",
    "figure": """
from lightning_interp.dashboards.figures import panels
from lightning_interp.dashboards.run_view import view_history
from lightning_interp.phases import detect_phases
series = {"train_loss": ([0, 1], [1.0, 0.5])}
run = view_history("run", series, detect_phases(series))
(panel,) = [each for each in panels(run) if each.key == "toy"]
assert panel.draw().data[0].y == (1,)
""",
    "logger": """
from lightning_interp.dashboards.loggers.logger_set import LoggerSet
class ToyLogger:
    told = []
    def log_metrics(self, metrics, step=None):
        pass
LoggerSet([ToyLogger()]).alert("a toy", "")
assert ToyLogger.told == ["a toy"]
""",
    "source": """
from pathlib import Path
from lightning_interp.sources.metrics.history import read_metrics
Path("history.toy").write_text("0.5")
assert read_metrics("history.toy").series == {"heldout_loss": ([7], [0.5])}
""",
    "option": """
from torch import nn
from lightning_interp import Monitor
from lightning_interp.analysis.analyzer import Analyzer
from lightning_interp.config.monitor_config import MonitorConfig
seen = []
begin = Analyzer.run_pending
Analyzer.run_pending = lambda self, *rest, **named: (seen.append(self.toyish), begin(self, *rest, **named))[1]
monitor = Monitor(config=MonitorConfig.of(dirpath="run", background="inline", measures="norms", toyish=True))
with monitor.watch(nn.Linear(2, 2), train_data=[]):
    monitor.step()
assert seen and all(seen), seen
""",
}


@pytest.fixture(scope="module")
def toyish(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package to which one of each kind was added."""
    copy = tmp_path_factory.mktemp("toyish") / PACKAGE.name
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for kind, files in NEW_FILES.items():
        for name, text in files.items():
            (copy / name).write_text(text, encoding="utf-8")
        for name, edits in EDITS[kind].items():
            path = copy / name
            for place, added in edits:
                before, found, after = path.read_text(encoding="utf-8").partition(place)
                assert found, f"{name} has no {place!r}"
                path.write_text(before + added + found + after, encoding="utf-8")
    return copy.parent


@pytest.fixture(scope="module")
def problems(toyish: Path) -> str:
    """What the copy says to all kinds, one after the other in one process: the name of each that fails, and how."""
    script = "".join(
        f"try:\n    exec({code!r}, {{'__name__': 'shown'}})\nexcept BaseException as err:\n    print({kind!r}, repr(err))\n"
        for kind, code in SHOWN.items()
    )
    script = "import lightning_interp\nprint(lightning_interp.__file__)\n" + script
    environment = os.environ | {"PYTHONPATH": str(toyish)}
    done = subprocess.run([sys.executable, "-c", script], cwd=toyish, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith(str(toyish)), done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("kind", MOST)
def test_an_addition_works_and_touches_few_files(problems: str, kind: str) -> None:
    assert not [line for line in problems.splitlines() if line.startswith(kind)]
    assert len(NEW_FILES[kind]) + len(EDITS[kind]) + TEST <= MOST[kind]
