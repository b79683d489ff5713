# SPDX-License-Identifier: Apache-2.0
"""TensorBoard: charts that belong together, verdict and figures, read back from its event files."""

import logging
import re
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import pytest
import tensorboardX
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from small_training import fit
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

from lightning_interp import TCA, InterpMonitor, Run, open_run
from lightning_interp.core.records import Observation
from lightning_interp.dashboards.run_view import view_run
from lightning_interp.measures import Label, Measure
from lightning_interp.phases.verdict_state import verdict_words


class Events:
    """What a log folder holds."""

    def __init__(self, folder: Path) -> None:
        self.events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0}).Reload()

    @property
    def scalars(self) -> list[str]:
        return [tag for tag in self.events.Tags()["scalars"] if tag.split("interp/")[-1] != tag and tag != "interp/step"]

    @property
    def charts(self) -> dict[str, dict[str, list[str]]]:
        """Regular expressions of each chart by category and title."""
        (event,) = self.events.Tensors("custom_scalars__config__")
        layout = Layout.FromString(event.tensor_proto.string_val[0])
        return {each.title: {chart.title: list(chart.multiline.tag) for chart in each.chart} for each in layout.category}

    def text(self, tag: str) -> str:
        return str(self.events.Tensors(f"{tag}/text_summary")[-1].tensor_proto.string_val[0].decode())

    def image(self, tag: str) -> tuple[int, Any]:
        event = self.events.Images(tag)[-1]
        return event.step, Image.open(BytesIO(event.encoded_image_string))


class Largest(Measure):
    """A measure of the user's own, with a label."""

    name: ClassVar[str] = "largest"
    names: ClassVar[Mapping[str, Label]] = {"largest_weight": Label("largest weight", "unit", section="weights")}
    needs = frozenset({"weights"})

    def __call__(self, observation: Observation) -> Mapping[str, float]:
        return {"largest_weight": max(observation.weight(name).abs().max().item() for name in observation.parameters)}


class TensorBoardXLogger(TensorBoardLogger):
    """What Lightning's logger is where torch's own writer is not installed."""

    @property
    def experiment(self) -> Any:
        if self._experiment is None:
            self._experiment = tensorboardX.SummaryWriter(self.log_dir)  # type: ignore[assignment]
        return self._experiment


class Logged:
    """One training with the writers of torch and of tensorboardX."""

    def __init__(self, root: Path) -> None:
        loggers = [TensorBoardLogger(root / "tb"), TensorBoardXLogger(root / "tbx")]
        tca = TCA(ranks="1:2", every=2, restarts=1)
        watched = {"layers": "net.1", "tca": tca, "measures": ["standard", Largest]}
        monitor = InterpMonitor(root / "run", background="inline", every_n_steps=5, **watched)
        fit(root, monitor, max_steps=40, logger=loggers)
        self.run: Run = open_run(root / "run")
        self.found, self.by_tensorboardx = (Events(Path(logger.log_dir)) for logger in loggers)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    yield Logged(tmp_path_factory.mktemp("tensorboard"))


def test_layout_has_every_scalar_in_one_chart_and_nothing_else(logged: Logged) -> None:
    patterns = [pattern for charts in logged.found.charts.values() for tags in charts.values() for pattern in tags]
    for tag in logged.found.scalars:
        assert sum(re.match(pattern, tag) is not None for pattern in patterns) == 1, tag
    assert len(patterns) == len(logged.found.scalars)


def test_layout_puts_together_what_belongs_together(logged: Logged) -> None:
    charts = logged.found.charts
    assert list(charts) == ["losses", "accuracies", "phases", "weights", "spectra and sparsity", "components"]
    assert charts["losses"]["losses"] == ["interp/train_loss$", "interp/heldout_loss$"]
    assert charts["components"]["net.1"][0] == r"interp/component/net\.1/0$"


def test_a_measure_of_the_users_own_is_laid_out_and_kept_with_its_label(logged: Logged) -> None:
    assert logged.found.charts["weights"]["largest weight (unit)"] == ["interp/largest_weight$"]
    assert view_run(logged.run.path).labels == Largest.names


def test_text_has_verdict_and_phases(logged: Logged) -> None:
    text, timeline = logged.found.text("interp/verdict"), logged.run.timeline
    assert timeline is not None and f"**Verdict: {verdict_words(timeline)}**" in text
    for phase in timeline.phases:
        assert f"| {phase.name.replace('_', ' ')} | {phase.start:,} |" in text


def test_main_figures_are_images_at_the_last_step(logged: Logged) -> None:
    assert logged.found.events.Tags()["images"][0] == "interp/figures/losses"
    step, image = logged.found.image("interp/figures/losses")
    assert step == 40 and image.width == 1650
    assert len(image.convert("RGB").getcolors(1 << 24) or []) > 50, "a picture, not a blank page"


def test_without_a_browser_one_line_says_why_there_are_no_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="lightning_interp")
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "no_browser"))
    logger = TensorBoardLogger(tmp_path / "tb")
    fit(tmp_path, InterpMonitor(tmp_path / "run", background="inline", every_n_steps=10), max_steps=20, logger=logger)
    lines = [record.message for record in caplog.records if "TensorBoard gets no figures" in record.message]
    assert len(lines) == 1 and "install Chrome or Chromium" in lines[0]
    assert "warning" not in caplog.text
    assert Events(Path(logger.log_dir)).text("interp/verdict")


def test_the_writer_of_tensorboardx_gets_the_same(logged: Logged) -> None:
    ours, theirs = logged.found, logged.by_tensorboardx
    assert theirs.charts == ours.charts and theirs.scalars == ours.scalars
    assert theirs.text("interp/verdict") == ours.text("interp/verdict")
    (step, image), (their_step, their_image) = (found.image("interp/figures/losses") for found in (ours, theirs))
    assert their_step == step and their_image.tobytes() == image.tobytes()
