# SPDX-License-Identifier: Apache-2.0
"""A probe that is not built as one is refused in words, before anything is written."""

import pytest
import torch

from lightning_interp import Probe, ProbeSplit
from lightning_interp.config.users_probe import users_probe
from lightning_interp.core.errors import ConfigError

INPUTS, TARGETS = torch.ones(4, 3), torch.tensor([0, 1, 0, 1])
GOOD = ProbeSplit(((INPUTS, TARGETS),))


def unchecked(kind, **fields):
    """As it is made outside these tests, which check types as objects are made."""
    made = object.__new__(kind)
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made


def probe(train, heldout=None, loaders=None):
    return unchecked(Probe, train=train, heldout=heldout, cooccurrence=None, loaders={} if loaders is None else loaders)


def broken():
    raise ValueError("no data here")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: probe((INPUTS, TARGETS)), "`train` is a tuple, expected a ProbeSplit"),
        (lambda: probe(GOOD, INPUTS), "`heldout` is a Tensor, expected a ProbeSplit"),
        (lambda: probe(GOOD, loaders=[GOOD]), "`loaders` is a list, expected a dict"),
        (lambda: probe(GOOD, loaders={"night": INPUTS}), "`loaders\\['night'\\]` is a Tensor"),
        (lambda: Probe(ProbeSplit((INPUTS, TARGETS))), "with two brackets"),
        (lambda: probe(unchecked(ProbeSplit, batches=INPUTS)), "`train.batches` is a Tensor, expected a tuple of batches"),
        (lambda: Probe(ProbeSplit(())), "`train` holds no batch"),
        (lambda: Probe(ProbeSplit(((INPUTS[:0], TARGETS[:0]),))), "holds no examples"),
        (lambda: GOOD, "expected a Probe, got a ProbeSplit"),
        (broken, "broken failed \\(ValueError: no data here\\)"),
    ],
)
def test_a_probe_built_wrongly_says_how_it_is_built(make, told):
    with pytest.raises(ConfigError, match=f"probe: .*{told}"):
        users_probe(make)


@pytest.mark.parametrize(
    "whole", [Probe(GOOD), Probe(GOOD, GOOD, loaders={"night": GOOD}), Probe(ProbeSplit((INPUTS, INPUTS)))]
)
def test_a_probe_that_is_one_is_taken(whole):
    assert users_probe(lambda: whole) is users_probe(whole) is whole
