# SPDX-License-Identifier: Apache-2.0
import math
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch

import lightning_interp.measures as measures_package
from lightning_interp.measures import CyclicGroupTask, resolve_measures, scalar_names

TASK = CyclicGroupTask(23, "add")
MEASURES = resolve_measures("standard", task=TASK)


@pytest.fixture(scope="module")
def observation(build):
    return everything(build)


def everything(build):
    """A partly learned task with all that a measure may ask for."""
    generator = torch.Generator().manual_seed(0)
    train = build["random_split"](TASK, share=0.4, seed=0, unordered=True)
    logits = build["cosine_logits"](TASK, (1, 2, 5), scale=1.0) + build["memorizer_logits"](TASK, train, gap=3, seed=1)
    pairs, answers = build["all_pairs"](TASK)
    seen = torch.zeros(24, 23, dtype=torch.bool)
    for slot in (0, 1):
        seen[pairs[train, slot], answers[train]] = True
    shapes = {"embed.weight": (24, 16), "fc1.weight": (64, 16), "fc2.weight": (16, 64), "head.weight": (23, 16)}
    return build["observe"](
        TASK,
        logits,
        train,
        cooccurrence=seen,
        weights={name: torch.randn(*shape, generator=generator) for name, shape in shapes.items()},
        layer_values={"mlp": torch.randn(40, 64, generator=generator).relu()},
        past={"weight_norm": ([0, 10, 50], [3.0, 2.5, 2.0])},
    )


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_measure_returns_its_names_and_finite_numbers(measure, observation):
    values = measure(observation)
    assert {name for name in values if "/" not in name} == {*measure.names, *measure.vector_names}
    scalars = [value for name, value in values.items() if name not in measure.vector_names]
    assert all(type(value) is float and math.isfinite(value) for value in scalars)
    vectors = [values[name] for name in measure.vector_names]
    assert all(vector.ndim == 1 and vector.isfinite().all() for vector in vectors)


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_measure_leaves_every_random_state_as_it_was(measure, observation):
    states = numpy.random.get_state()[1].tolist(), torch.get_rng_state()
    measure(observation)
    assert numpy.random.get_state()[1].tolist() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])


PYTHON_RANDOM = """
import importlib.util, random, sys

def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

conftest, package = load("conftest", sys.argv[1]), load("package", sys.argv[2])
makers = "all_pairs", "observe", "random_split", "cosine_logits", "memorizer_logits"
observation = package.everything({name: getattr(conftest, name) for name in makers})
for measure in package.MEASURES:
    before = random.getstate()
    measure(observation)
    print(measure.name, random.getstate() == before)
"""


def test_measures_leave_the_python_random_state_as_it_was():
    # In a process of its own, because beartype, which checks types in these tests, draws from `random` to do so.
    here = Path(__file__)
    command = [sys.executable, "-c", PYTHON_RANDOM, str(here.with_name("conftest.py")), str(here)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.split() == [word for measure in MEASURES for word in (measure.name, "True")]


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_measure_gives_the_same_numbers_twice(measure, observation):
    first, again = measure(observation), measure(observation)
    assert first.keys() == again.keys()
    assert all(torch.equal(torch.as_tensor(first[name]), torch.as_tensor(again[name])) for name in first)


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_measure_changes_no_tensor_it_is_given(measure, observation):
    tensors = [*observation.weights.values(), *observation.layer_values.values(), *observation.split_inputs.values()]
    tensors += [outputs.logits for outputs in observation.split_outputs.values()]
    before = [tensor.clone() for tensor in tensors]
    measure(observation)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


def test_scalar_names_stay_under_the_loggers_limit():
    assert len(scalar_names(MEASURES)) <= 40


@pytest.mark.parametrize("name", measures_package.__all__)
def test_every_public_name_is_there(name):
    assert getattr(measures_package, name) is not None


def test_importing_measures_loads_neither_lightning_nor_wandb():
    code = (
        "import sys, lightning_interp.measures; "
        "print([m for m in ('lightning', 'pytorch_lightning', 'wandb') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
