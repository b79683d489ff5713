# SPDX-License-Identifier: Apache-2.0
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from typing import ClassVar

import pytest

from lightning_interp.core.errors import ConfigError
from lightning_interp.core.records import Observation
from lightning_interp.measures import CyclicGroupTask, Measure, TrainLoss, resolve_measures, scalar_names
from lightning_interp.measures import registry as registry_module

TASK = CyclicGroupTask(23, "add")
GENERIC = [
    "train_loss",
    "heldout_loss",
    "train_accuracy",
    "heldout_accuracy",
    "loss_gap",
    "weight_norm",
    "weight_norm_slope",
    "effective_rank",
    "stable_rank",
    "participation_ratio",
    "hoyer",
    "near_zero_share",
    "heldout_percentile",
    "heldout_percentile_z",
    "train_margin",
    "heldout_margin",
    "shuffled_loss",
]
FOURIER = ["excluded_loss", "excluded_loss_max", "restricted_loss", "gini_embedding", "gini_readout"]
VECTORS = ["weight_sketch", "fourier_power_embedding", "fourier_power_readout"]


class Constant(Measure):
    """Always one."""

    name: ClassVar[str] = "constant"
    names: ClassVar[tuple[str, ...]] = ("constant",)
    needs = frozenset()

    def __call__(self, observation: Observation) -> Mapping[str, float]:
        return {"constant": 1.0}


class Impostor(Constant):
    """Claims a scalar that another measure gives."""

    name: ClassVar[str] = "impostor"
    names: ClassVar[tuple[str, ...]] = ("train_loss",)


class Crowd(Constant):
    """More scalars than loggers take."""

    name: ClassVar[str] = "crowd"
    names: ClassVar[tuple[str, ...]] = tuple(f"crowd_{i}" for i in range(41))


def test_standard_gives_the_generic_record_names():
    assert sorted(scalar_names(resolve_measures("standard"))) == sorted(GENERIC)


def test_standard_with_a_task_adds_the_fourier_names():
    assert sorted(scalar_names(resolve_measures("standard", task=TASK))) == sorted(GENERIC + FOURIER)


@pytest.mark.parametrize("name", GENERIC + FOURIER)
def test_every_scalar_name_selects_a_measure_that_gives_it(name):
    (measure,) = resolve_measures([name], task=TASK)
    assert name in measure.names


@pytest.mark.parametrize("name", VECTORS)
def test_every_vector_name_selects_a_measure_that_gives_it(name):
    (measure,) = resolve_measures([name], task=TASK)
    assert name in measure.vector_names and not measure.names


def test_standard_with_a_task_gives_all_vectors():
    measures = resolve_measures("standard", task=TASK)
    assert sorted(name for measure in measures for name in measure.vector_names) == sorted(VECTORS)


def test_resolve_measures_refuses_a_vector_that_has_the_name_of_a_scalar():
    class Vector(Constant):
        name, names, vector_names = "vector", (), ("train_loss",)

    with pytest.raises(ConfigError, match="more than one measure gives train_loss"):
        resolve_measures(["standard", Vector()])


def test_resolve_measures_keeps_order_and_drops_repeats():
    measures = resolve_measures(["hoyer", "train_loss", "near_zero_share"])
    assert [measure.name for measure in measures] == ["activation_sparsity", "train_loss"]


def test_resolve_measures_takes_objects_classes_and_lists_with_standard():
    own = Constant()
    measures = resolve_measures(["standard", own, TrainLoss])
    assert measures[-1] is own
    assert [measure.name for measure in measures].count("train_loss") == 1


def test_resolve_measures_imports_dotted_names():
    (measure,) = resolve_measures("lightning_interp.measures.losses:HeldoutLoss")
    assert measure.name == "heldout_loss"


def test_resolve_measures_finds_third_parties_by_entry_point(monkeypatch):
    point = EntryPoint("theirs", "lightning_interp.measures.losses:LossGap", registry_module.ENTRY_POINTS)
    monkeypatch.setattr(registry_module, "entry_points", lambda group: [point])
    assert resolve_measures(["theirs"])[0].name == "loss_gap"


def test_resolve_measures_suggests_the_nearest_name():
    with pytest.raises(ConfigError, match=r"'train_los' is unknown; nearest: train_loss"):
        resolve_measures(["train_los"])


def test_resolve_measures_says_what_a_fourier_measure_needs():
    with pytest.raises(ConfigError, match=r"restricted_loss needs a group task: pass task=CyclicGroupTask\(p, op\)"):
        resolve_measures(["restricted_loss"])


@pytest.mark.parametrize("path", ["no_such_module:X", "lightning_interp.measures.losses:Nothing", ":X"])
def test_resolve_measures_says_why_an_import_failed(path):
    with pytest.raises(ConfigError, match="`measures`: "):
        resolve_measures([path])


def test_resolve_measures_refuses_what_makes_no_measure():
    with pytest.raises(ConfigError, match="gave dict, expected a Measure"):
        resolve_measures(["builtins:dict"])


def test_resolve_measures_refuses_two_measures_of_one_name():
    with pytest.raises(ConfigError, match="two measures named 'constant'"):
        resolve_measures([Constant(), Constant()])


def test_resolve_measures_refuses_two_claims_to_one_scalar():
    with pytest.raises(ConfigError, match="more than one measure gives train_loss"):
        resolve_measures(["standard", Impostor()])


def test_scalar_names_refuse_more_than_loggers_take():
    with pytest.raises(ConfigError, match=r"give 41 scalars, loggers take 40.*name/<layer>"):
        resolve_measures([Crowd()])
