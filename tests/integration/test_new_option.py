# SPDX-License-Identifier: Apache-2.0
"""A new option of an analysis: a field of `AnalysisRequest`, and the file that uses it. Nothing between them names it."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from wider_request import Arrival, WiderRequest

from lightning_interp import Monitor, analyze_checkpoints, open_run
from lightning_interp.analysis.orders import analyzer_for
from lightning_interp.analysis.plan import AnalysisPlan
from lightning_interp.analysis.worker.pipe import StartOrder
from lightning_interp.config.monitor_config import MonitorConfig, Resolved
from lightning_interp.core.errors import ConfigError
from lightning_interp.core.request import AnalysisRequest, with_options
from lightning_interp.posthoc.checkpoint_analysis import CheckpointOptions
from lightning_interp.posthoc.checkpoint_mapping import MapOrder, Mapper
from lightning_interp.posthoc.unfinished_run import order_for
from lightning_interp.store.analysis_state import AnalysisState

HOLDERS = (MonitorConfig, Resolved, StartOrder, AnalysisPlan, MapOrder, CheckpointOptions)
OPTIONS = {field.name for field in fields(AnalysisRequest)}


def wider(folder: Path) -> WiderRequest:
    """A request with one more option, which notes in the folder where it arrives."""
    return WiderRequest(measures="weight_norm", device="cpu", arrival=Arrival(folder / "arrivals"))


@pytest.fixture(scope="module")
def request_(tmp_path_factory: pytest.TempPathFactory) -> WiderRequest:
    return wider(tmp_path_factory.mktemp("request"))


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory, request_: WiderRequest) -> Path:
    """A run that was watched with the wider request."""
    module, folder = nn.Linear(3, 2), tmp_path_factory.mktemp("watched")
    monitor = Monitor(config=MonitorConfig(folder / "run", every_n_steps=1, request=request_, close_timeout=100.0))
    examples = TensorDataset(torch.ones(4, 3), torch.tensor([0, 1, 0, 1]))
    with monitor.watch(module, train_data=DataLoader(examples, batch_size=2)):
        monitor.step(1)
    return folder / "run"


@pytest.mark.parametrize("holder", HOLDERS)
def test_no_option_is_copied_between_those_that_carry_the_request(holder):
    names = {field.name for field in fields(holder)}
    assert "request" in names and not names & OPTIONS


def test_options_given_by_name_are_set_wherever_they_belong():
    options = with_options(CheckpointOptions(workers=2), {"out": "there", "device": "cpu", "strict": True})
    assert (options.out, options.workers, options.request) == ("there", 2, AnalysisRequest(device="cpu", strict=True))
    whole = with_options(CheckpointOptions(), {"request": AnalysisRequest(device="cpu"), "strict": True})
    assert whole.request == AnalysisRequest(device="cpu", strict=True)
    with pytest.raises(TypeError, match="unexpected keyword argument 'devise'"):
        MonitorConfig.of(devise="cpu")
    with pytest.raises(ConfigError, match=r"no option 'devise'; there are out, .*device, strict"):
        analyze_checkpoints(".", devise="cpu")


def test_a_new_option_comes_to_the_analyzer_process_and_to_run_json(run_dir, request_):
    assert len(request_.arrival.processes()) == 1
    assert open_run(run_dir).manifest.configuration["arrival"] == "<Arrival>"
    assert {record.step for record in open_run(run_dir).all_records} == {0, 1}


def test_a_new_option_comes_to_what_computes(run_dir, request_):
    order, _ = order_for(open_run(run_dir).manifest, replace(request_, measures=()))
    analyzer = analyzer_for(run_dir, order)
    assert analyzer._plan.request.arrival == request_.arrival
    mapper = Mapper.of(MapOrder(order.request, analyzer.manifest.layers, analyzer.watched, AnalysisState()))
    assert mapper._observer._plan.request.arrival == request_.arrival


def test_a_new_option_comes_to_the_workers_of_an_analysis_of_checkpoints(tmp_path):
    request_ = wider(tmp_path)
    for step in (0, 10, 20, 30):
        torch.save(
            {"state_dict": {"weight": torch.full((2, 3), 1.0 + step)}, "global_step": step}, tmp_path / f"{step}.ckpt"
        )
    options = CheckpointOptions(tmp_path / "out", request_, workers=2)
    found = analyze_checkpoints(tmp_path, options, threads=1)
    assert found.observed == (0, 10, 20, 30)
    assert 1 <= len(request_.arrival.processes()) <= 2


def test_run_json_keeps_the_order_of_its_options():
    assert list(MonitorConfig().plain()) == [
        *("dirpath", "every_n_steps", "schedule", "parameters", "layers", "measures", "task", "tca", "outcome", "probe"),
        *(
            "probe_step",
            "module",
            "background",
            "device",
            "max_overhead",
            "max_disk",
            "retention",
            "close_timeout",
            "save_probe",
        ),
        *("report", "strict"),
    ]
