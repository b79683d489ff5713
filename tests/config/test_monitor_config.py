# SPDX-License-Identifier: Apache-2.0
import copy
import json
import os
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_interp.capture import EveryNSteps, LogSpaced
from lightning_interp.config.monitor_config import MonitorConfig, check_writable, make_schedule, resolve, switched_off
from lightning_interp.core.errors import ConfigError
from lightning_interp.core.records import Probe, ProbeSplit
from lightning_interp.core.tca_settings import TCA
from lightning_interp.measures import CyclicGroupTask, HeldoutLoss
from lightning_interp.store import write_probe

NET = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
PROBE = Probe(ProbeSplit((torch.ones(1),)))


def no_probe() -> str:
    return "nothing"


def test_resolve_selects_parameters_layers_and_matrices():
    found = resolve(MonitorConfig(), NET)
    assert found.request.parameters == ("0.weight", "0.bias", "2.weight", "2.bias")
    assert found.request.layers == ("1",)
    assert found.matrices == ("0.weight", "2.weight")
    assert {"train_loss", "weight_norm"} <= set(found.names)


class FromTheEnd(HeldoutLoss):
    """Knows how the training ended."""

    name = "from_the_end"
    causal = False


def test_resolve_refuses_a_measure_that_looks_ahead_and_says_what_to_do():
    with pytest.raises(ConfigError, match=r"from_the_end looks at later .*analyze RUN_DIR --measures .*:FromTheEnd`"):
        resolve(MonitorConfig.of(measures=[FromTheEnd]), NET)
    afterwards = resolve(MonitorConfig.of(measures=[FromTheEnd]), NET, live=False)
    assert [measure.name for measure in afterwards.request.measures] == ["from_the_end"]


def test_resolve_leaves_buffers_out_of_the_parameters():
    assert resolve(MonitorConfig(), nn.Sequential(nn.BatchNorm1d(2))).request.parameters == ("0.weight", "0.bias")


def test_resolve_counts_tied_parameters_once():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    net[1].weight = net[0].weight
    assert resolve(MonitorConfig(), net).request.parameters == ("0.weight",)


class OtherNames(nn.Linear):
    """Its state_dict has copies, under names of its own."""

    def state_dict(self, *args, **kwargs):
        return {f"saved_{name}": tensor.clone() for name, tensor in super().state_dict(*args, **kwargs).items()}


def test_resolve_goes_on_without_weights_where_no_parameter_is_in_the_state_dict():
    found = resolve(MonitorConfig(), OtherNames(2, 2))
    assert (found.request.parameters, found.matrices) == ((), ())
    assert "no parameter is in the state_dict of the module: weights are not measured" in found.notes
    with pytest.raises(ConfigError, match="matches none"):
        resolve(MonitorConfig.of(parameters="weight"), OtherNames(2, 2))


def test_resolve_tells_roles_of_default_layers():
    assert resolve(MonitorConfig(), NET).roles == {"1": "activation"}
    assert resolve(MonitorConfig.of(layers="0"), NET).roles == {}


@pytest.mark.parametrize(("parameters", "count"), [("*", 4), (["*"], 8), ("momentum.*", 4)])
def test_resolve_leaves_copies_out_unless_they_are_asked_for(parameters, count):
    net = nn.ModuleDict({"encoder": NET, "momentum": copy.deepcopy(NET).requires_grad_(False)})
    found = resolve(MonitorConfig.of(parameters=parameters, layers="encoder.1"), net)
    assert len(found.request.parameters) == count
    assert any("left out as copies" in note for note in found.notes) is (parameters == "*")


def test_resolve_notes_a_module_without_layers():
    assert "no layer to watch" in resolve(MonitorConfig(), nn.Linear(2, 2)).notes[0]


def test_resolve_changes_nothing_in_the_module():
    before = {name: tensor.clone() for name, tensor in NET.state_dict().items()}
    resolve(MonitorConfig(), NET)
    assert all(torch.equal(tensor, before[name]) for name, tensor in NET.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every_n_steps": 0}, "every_n_steps: expected a positive integer, got 0"),
        ({"every_n_steps": 5, "schedule": LogSpaced()}, "every_n_steps and schedule: give one of them"),
        ({"parameters": "decoder.*"}, "parameters: 'decoder.\\*' matches none"),
        ({"layers": "decoder"}, "layers: 'decoder' matches none"),
        ({"measures": "no_such"}, "'no_such' is unknown"),
        ({"close_timeout": -1.0}, r"close_timeout: expected seconds, 0 or more, or nothing \(None\) to wait for the whole"),
        ({"close_timeout": float("nan")}, "close_timeout: expected seconds"),
        ({"max_overhead": 0.0}, "max_overhead: expected a share of wall time over 0"),
        ({"max_overhead": "2%"}, "max_overhead: expected a share of wall time over 0"),
        ({"max_disk": "lots"}, "max_disk: expected a size such as '5GB'"),
        ({"retention": "some"}, "retention: expected 'all', 'log' or 'last:20'"),
        ({"device": "tpu9"}, "device: 'tpu9' is not a device"),
        ({"device": "cuda:99"}, "device: 'cuda:99' is not there"),
        ({"module": "no_such_pkg:build"}, "module: cannot import"),
        ({"probe_step": "math:pi"}, "probe_step: expected a function"),
        ({"probe": "nowhere"}, "probe: nowhere holds no probe.safetensors"),
        ({"probe": no_probe}, "probe: expected a Probe, got a str"),
        ({"probe": "math:pi"}, "probe: expected a Probe, got a float"),
        ({"tca": {"every": 5}}, r"tca: expected TCA\(...\), true for its defaults, or nothing, got a dict"),
        (
            {"tca": TCA(layers="decoder.*")},
            r"tca.layers: 'decoder.\*' matches none of the layers this run watches: 1\. .*layers=",
        ),
        ({"tca": TCA(layers="type:ReLU")}, "tca.layers: 'type:ReLU' is a type"),
        ({"tca": TCA(ranks=0)}, "tca.ranks: expected one rank or more, .* got 0"),
        ({"tca": TCA(every=0)}, "tca.every: expected whole numbers, 1 or more, got 0"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_resolve_names_the_argument_it_cannot_honour(arguments, message):
    with pytest.raises(ConfigError, match=message):
        resolve(MonitorConfig.of(**arguments), NET)


@pytest.mark.parametrize("given", [None, float("inf")])
def test_the_end_of_a_training_can_wait_for_ever(given):
    """In a number that every clock takes: a thread cannot be joined for an infinite time."""
    config = MonitorConfig(close_timeout=given)
    resolve(config, NET)
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join(config.close_within_s)
    assert config.close_within_s > 1e8


def test_resolve_refuses_tensors_that_cannot_be_captured():
    with pytest.raises(ConfigError, match="lazy parameter"):
        resolve(MonitorConfig(), nn.Sequential(nn.LazyLinear(2)))


def test_resolve_reads_a_probe_from_a_run_directory(tmp_path):
    write_probe(tmp_path, PROBE)
    assert resolve(MonitorConfig.of(probe=str(tmp_path)), NET).request.probe.train.batches[0].item() == 1.0


def test_resolve_takes_a_probe_or_a_function_that_makes_one():
    assert resolve(MonitorConfig.of(probe=PROBE), NET).request.probe is PROBE
    assert resolve(MonitorConfig.of(probe=lambda: PROBE), NET).request.probe is PROBE


def test_resolve_leaves_components_out_unless_asked_for():
    assert resolve(MonitorConfig(), NET).request.tca is None
    assert resolve(MonitorConfig.of(tca=False), NET).request.tca is None


def test_resolve_names_the_layers_and_ranks_of_components():
    found = resolve(MonitorConfig.of(layers="*", tca=TCA(layers=["1", "re:[12]"], ranks="2:4")), NET).request.tca
    assert (found.layers, found.ranks) == (("1", "2"), (2, 3, 4))


def test_resolve_takes_true_for_components_of_every_watched_layer():
    found = resolve(MonitorConfig.of(layers="*", tca=True), NET)
    assert found.request.tca == TCA(layers=("0", "1", "2"), ranks=tuple(range(1, 9)))


def test_resolve_refuses_components_where_no_layer_is_watched():
    with pytest.raises(ConfigError, match=r"tca\.layers: this run watches no activation layer"):
        resolve(MonitorConfig.of(tca=True), nn.Linear(2, 2))


def test_resolve_names_components_for_loggers_and_says_so():
    found = resolve(MonitorConfig.of(tca=TCA(ranks=(1, 3))), NET)
    assert found.names[-3:] == ("component/1/0", "component/1/1", "component/1/2")
    assert any("loggers get the first 3 of each layer as interp/component/<layer>/<number>" in n for n in found.notes)


def test_resolve_keeps_rows_with_components_under_forty_names():
    task = CyclicGroupTask(5, "add")
    net = nn.Sequential(nn.Embedding(6, 3), nn.ReLU(), nn.GELU(), nn.Tanh(), nn.Linear(3, 5))
    names = resolve(MonitorConfig.of(task=task, tca=True), net).names
    shown = [name for name in names if name.startswith("component/")]
    assert shown and len(shown) % 3 == 0, "each of the three layers has as many"
    assert len(names) + 5 <= 40  # three intensities, phase and step come on top


def test_make_schedule_prefers_what_the_user_gave():
    mine = EveryNSteps(3)
    assert make_schedule(MonitorConfig.of(schedule=mine), 100) is mine
    assert make_schedule(MonitorConfig.of(every_n_steps=7), 100).n_steps == 7
    assert make_schedule(MonitorConfig(), 100).max_steps == 100


def test_plain_configuration_is_json():
    config = MonitorConfig.of(
        dirpath=Path("runs"),
        schedule=EveryNSteps(5),
        layers=["net.*", nn.ReLU],
        measures=["weight_norm", HeldoutLoss()],
        task=CyclicGroupTask(7, "add"),
        tca=TCA(layers="net.*", ranks="1:3"),
        probe=PROBE,
        probe_step=no_probe,
    )
    plain = json.loads(json.dumps(config.plain()))
    assert (plain["dirpath"], plain["schedule"]) == ("runs", "every 5 steps")
    assert plain["layers"] == ["net.*", "torch.nn.modules.activation:ReLU"]
    assert plain["measures"] == ["weight_norm", "heldout_loss"]
    assert plain["task"]["p"] == 7
    assert TCA.from_plain(plain["tca"]) == TCA(layers="net.*", ranks=(1, 2, 3))
    assert plain["probe"] == "<Probe>"
    assert plain["probe_step"].endswith(":no_probe")


def test_check_writable_refuses_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"dirpath: .*file is a file, expected a directory"):
        check_writable(tmp_path / "file" / "run")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write to read-only folders")
def test_check_writable_refuses_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="is read-only"):
        check_writable(tmp_path / "run")
    tmp_path.chmod(0o700)


def test_check_writable_creates_nothing(tmp_path):
    check_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("value", "off"), [("0", True), (" 0 ", True), ("1", False), ("", False), ("no", False)])
def test_switched_off_by_zero_only(monkeypatch, value, off):
    monkeypatch.setenv("LIGHTNING_INTERP", value)
    assert switched_off() == off
