# SPDX-License-Identifier: Apache-2.0
"""A measure is its file and one line of the registry, or a class of the user's own: its label is what people see."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from docs_table import docs_table
from reference_run import make_reference_run
from rich.console import Console

from lightning_interp.cli.status_text import page
from lightning_interp.core.errors import ConfigError
from lightning_interp.core.records import Observation
from lightning_interp.core.timeline import Timeline
from lightning_interp.dashboards.figures import panels
from lightning_interp.dashboards.loggers.logger_set import LoggerSet
from lightning_interp.dashboards.loggers.rows import row_keys
from lightning_interp.dashboards.loggers.sections import known_names, sections_of
from lightning_interp.dashboards.loggers.tensorboard import scalar_layout
from lightning_interp.dashboards.run_summary import summary_of
from lightning_interp.dashboards.run_view import RunView, view_run
from lightning_interp.measures import Label, Measure, registry, resolve_measures
from lightning_interp.measures.label import NO_LABELS, Chart, plain_label, read_labels
from lightning_interp.measures.logged_names import section_of
from lightning_interp.sources.metrics.columns import meaning_of

SERIES = {"toy_charge": ([0, 1, 2], [1.0, 2.0, 4.0]), "train_loss": ([0, 1, 2], [3.0, 2.0, 1.0])}


class Toy(Measure):
    """``toy_charge``: charge of the weights, coulomb."""

    name: ClassVar[str] = "toy"
    names: ClassVar[Mapping[str, Label]] = {
        "toy_charge": Label("charge of the toy", "coulomb", log=True, section="sparsity", about="what the toy holds")
    }
    needs = frozenset({"weights"})

    def __call__(self, observation: Observation) -> Mapping[str, float]:
        return {"toy_charge": 1.0}


class Unlabelled(Toy):
    """The same without labels."""

    names: ClassVar[tuple[str, ...]] = ("toy_charge",)


@pytest.fixture(params=["registered", "the user's own"])
def own(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Label]:
    """Labels that must be handed on: none of a registered measure, those of one that was passed as a class."""
    if request.param == "registered":
        monkeypatch.setattr(registry, "STANDARD", (*registry.STANDARD, Toy))
    return registry.own_labels(resolve_measures([Toy]))


def run_of(own: Mapping[str, Label]) -> RunView:
    """A run as it is read from its directory, where the analyzer wrote the labels."""
    analysis = {"labels": {name: plain_label(label) for name, label in own.items()}} if own else {}
    return RunView("toy", SERIES, Timeline("unknown"), analysis=analysis)


def shown(run: RunView) -> str:
    console = Console(width=160, record=True, quiet=True)
    with console.capture() as capture:
        console.quiet = False
        console.print(page(summary_of(run, now=0.0)))
    return " ".join(capture.get().split())


def test_the_figure_of_its_section_draws_it_under_its_label(own: dict[str, Label]) -> None:
    (panel,) = [panel for panel in panels(run_of(own)) if panel.section == "measures"]
    assert panel.key == "sparsity"
    assert panel.draw().layout.annotations[0].text == "charge of the toy (coulomb)"


def test_boards_show_it_in_its_section_in_a_chart_with_its_unit(own: dict[str, Label]) -> None:
    assert section_of("toy_charge", own) == section_of("toy_charge/layer", own) == "sparsity"
    (section,) = sections_of(["toy_charge"], own)
    assert (section.title, section.charts) == ("sparsity", {"charge of the toy (coulomb)": ("toy_charge",)})
    layout = scalar_layout(["toy_charge"], own)
    assert layout == {"sparsity": {"charge of the toy (coulomb)": ["Multiline", ["interp/toy_charge$"]]}}


def test_status_shows_its_label_and_unit(own: dict[str, Label]) -> None:
    assert "charge of the toy (coulomb) │ 2 │ 4 │" in shown(run_of(own))
    assert summary_of(run_of(own), now=0.0).to_dict().keys().isdisjoint({"labels"}), "for people, not for scripts"


def test_a_registered_measure_is_in_the_docs_the_workspace_and_metrics_files(monkeypatch: pytest.MonkeyPatch) -> None:
    assert meaning_of("toy_charge") is None and "toy_charge" not in known_names()
    monkeypatch.setattr(registry, "STANDARD", (*registry.STANDARD, Toy))
    row = "| `toy_charge` | what the toy holds | coulomb | weights | no pass over the probe |"
    assert row in docs_table(registry.STANDARD).splitlines()
    assert meaning_of("interp/toy_charge") is not None
    weights = next(each for each in sections_of(known_names(), by_subject=True) if each.title == "weights")
    assert weights.charts["charge of the toy (coulomb)"] == ("toy_charge",)


def test_without_labels_a_measure_is_shown_by_its_name() -> None:
    own = registry.own_labels(resolve_measures([Unlabelled]))
    assert own == {}
    assert [panel.key for panel in panels(run_of(own)) if panel.section == "measures"] == ["others"]
    assert "toy charge │ 2 │ 4 │" in shown(run_of(own))
    assert sections_of(["toy_charge"])[0].title == "others"


def test_loggers_are_prepared_with_the_labels() -> None:
    laid_out: list[Any] = []

    class TensorBoardLogger:
        experiment = type("Writer", (), {"add_custom_scalars": lambda _, layout: laid_out.append(layout)})()

        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None: ...

    LoggerSet([TensorBoardLogger()], row_keys(["toy_charge"]), registry.own_labels([Toy()]))
    assert list(laid_out[0]["sparsity"]) == ["charge of the toy (coulomb)"]


def test_a_chart_can_be_shared_with_built_in_measures() -> None:
    label = replace(Toy.names["toy_charge"], chart=Chart("losses", "losses", place=9))
    (section,) = sections_of(["toy_charge", "train_loss"], {"toy_charge": label})
    assert section.charts == {"losses": ("train_loss", "toy_charge")}


def test_a_loss_of_ones_own_is_drawn_though_the_figure_of_losses_does_not_know_it() -> None:
    own = {"toy_charge": Label("loss of the toy", section="losses")}
    assert [panel.key for panel in panels(run_of(own)) if panel.section == "measures"] == ["others"]


def test_a_file_can_cost_no_more_labels_than_a_run_has_and_renames_no_built_in_measure() -> None:
    many = {f"mine{number}": Label("mine") for number in range(10_000)}
    assert len(run_of(many).labels) == registry.MAX_SCALARS
    assert run_of({"heldout_loss": Label("train loss")}).labels == {}
    assert read_labels({"a": {"label": "x" * 201}}, most=40) == NO_LABELS


@pytest.mark.parametrize("content", [None, 3, [], {"a": 3}, {"a": {"unit": "J"}}, {"a": {"label": "x", "row": True}}])
def test_labels_that_a_file_should_not_hold_are_left_out(content: object, tmp_path: Path) -> None:
    assert read_labels(content, most=40) == NO_LABELS
    run = replace(view_run(make_reference_run(tmp_path)), analysis={"labels": content})
    assert run.labels == {}


def test_a_measure_that_declares_something_else_than_labels_is_refused() -> None:
    wrong = type("Wrong", (Toy,), {"names": {"toy_charge": "charge of the toy"}})
    with pytest.raises(ConfigError, match=r"toy declares 'toy_charge' with 'charge of the toy', expected a Label"):
        resolve_measures([wrong])


@pytest.mark.parametrize("wrong", [{"row": np.int64(1)}, {"unit": None}, {"log": 1}])
def test_a_label_that_json_cannot_hold_is_refused_before_anything_is_analyzed(wrong: dict[str, Any]) -> None:
    label = Label("charge")
    for name, value in wrong.items():
        object.__setattr__(label, name, value)  # as users may give it: types are checked in these tests only
    odd = type("Odd", (Toy,), {"names": {"toy_charge": label}})
    with pytest.raises(ConfigError, match="`log` a bool and `row` an int"):
        resolve_measures([odd])
