# SPDX-License-Identifier: Apache-2.0
"""A format more is one module and one line in a registry: nothing else of the package has to know it."""

import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch

import lightning_interp
from lightning_interp.cli.main import main
from lightning_interp.core.errors import CheckpointError, MetricsError
from lightning_interp.posthoc.checkpoint_survey import Survey
from lightning_interp.sources.checkpoints import registry as checkpoint_formats
from lightning_interp.sources.checkpoints.reading import read_checkpoint
from lightning_interp.sources.metrics import registry as metrics_formats
from lightning_interp.sources.metrics.history import read_metrics

PACKAGE = Path(lightning_interp.__file__).parent

TOY_METRICS = """
def matches(path):
    return path if path.suffix == ".toy" else None

def rows(path, asked):
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        step, loss = line.split("|")
        yield number, int(step), [("val_loss", loss)]
"""

TOY_CHECKPOINTS = """
import torch
from lightning_interp.sources.checkpoints.format import Header

NAME, SUFFIXES = "toy", (".toyweights",)

def matches(place):
    return [place.checkpoint(NAME, place.path)] if place.path.endswith(SUFFIXES) else None

def header(path):
    return Header(None, None, {"w": (2,)})

def tensors(path, memory):
    return {"w": torch.tensor([float(number) for number in path.read_text().split()])}
"""


def module_of(source: str, name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType(name)
    exec(source, vars(module))
    monkeypatch.setitem(sys.modules, name, module)
    return module


@pytest.fixture
def toy_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    module_of(TOY_METRICS, "toy_metrics", monkeypatch)
    line = metrics_formats.Listed("Toy", "a toy with bars", "toy_metrics")
    monkeypatch.setattr(metrics_formats, "FORMATS", (line, *metrics_formats.FORMATS))


@pytest.fixture
def toy_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of(TOY_CHECKPOINTS, "toy_checkpoints", monkeypatch)
    monkeypatch.setattr(checkpoint_formats, "FORMATS", (*checkpoint_formats.FORMATS, module))


def write_toys(folder: Path) -> None:
    (folder / "run.toy").write_text("0|2.5\n10|1.5\n")
    for step in (5, 10):
        (folder / f"step{step}.toyweights").write_text(f"{step} 1")


@pytest.mark.usefixtures("toy_metrics")
def test_a_metrics_format_is_read_once_it_is_registered(tmp_path: Path) -> None:
    write_toys(tmp_path)
    assert read_metrics(tmp_path / "run.toy").series == {"heldout_loss": ([0, 10], [2.5, 1.5])}


@pytest.mark.usefixtures("toy_metrics")
def test_a_registered_metrics_format_is_named_by_the_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    main(["phases", "--help"])
    assert "a toy with bars, or a run directory" in capsys.readouterr().out


@pytest.mark.usefixtures("toy_checkpoints")
def test_a_checkpoint_format_is_found_and_read_once_it_is_registered(tmp_path: Path) -> None:
    write_toys(tmp_path)
    survey = Survey.of([str(tmp_path)])
    assert [(each.step, each.found.kind) for each in survey.kept] == [(5, "toy"), (10, "toy")]
    assert torch.equal(read_checkpoint(survey.kept[1].found)["w"], torch.tensor([10.0, 1.0]))


@pytest.mark.usefixtures("toy_checkpoints")
def test_advice_names_the_suffixes_of_every_registered_format(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"\.safetensors.*\.toyweights|\.toyweights.*\.safetensors"):
        Survey.of([str(tmp_path)])


def test_without_their_lines_the_toys_are_not_read(tmp_path: Path) -> None:
    write_toys(tmp_path)
    with pytest.raises(MetricsError, match="no loss or accuracy to judge"):
        read_metrics(tmp_path / "run.toy")
    with pytest.raises(CheckpointError, match="no checkpoint there"):
        Survey.of([str(tmp_path)])


def test_every_format_has_the_names_that_its_protocol_asks_for() -> None:
    for listed in metrics_formats.FORMATS:
        module = import_module(listed.module)
        assert callable(module.matches) and callable(module.rows)


def test_registries_alone_import_formats() -> None:
    """Search, reading and the history know them by their protocol; a format may build on another."""
    formats = {each.module for each in metrics_formats.FORMATS}
    formats |= {each.__name__ for each in checkpoint_formats.FORMATS}
    own = {PACKAGE.parent / f"{name.replace('.', '/')}.py" for name in formats}
    others = (
        set(PACKAGE.rglob("*.py")) - own - {PACKAGE / f"sources/{room}/registry.py" for room in ("metrics", "checkpoints")}
    )
    leaves = "|".join(name.rpartition(".")[2] for name in formats)
    mentioned = re.compile(rf"sources\.(metrics|checkpoints)(\.| import [\w, ]*\b)({leaves})\b")
    assert all(path.is_file() for path in own)
    assert not [path for path in others if mentioned.search(path.read_text(encoding="utf-8"))]
