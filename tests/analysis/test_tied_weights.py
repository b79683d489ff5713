# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import Tensor, nn

from lightning_interp.analysis.replica import FactorySource
from lightning_interp.analysis.tied_weights import tied_names, with_tied
from lightning_interp.core.errors import ProbeError
from lightning_interp.core.records import Snapshot


class Tied(nn.Module):
    """An embedding whose matrix is also that of the head, as in GPT-2."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.bias = nn.Parameter(torch.zeros(5))
        self.head.weight = self.emb.weight

    def forward(self, x: Tensor) -> Tensor:
        """Scores of each token."""
        return self.head(self.emb(x)) + self.bias


NAMES = ("emb.weight", "head.weight")


def snapshot(seed: int, *names: str) -> Snapshot:
    generator = torch.Generator().manual_seed(seed)
    return Snapshot(seed, 0, {name: torch.randn(5, 3, generator=generator) for name in names} | {"bias": torch.ones(5)})


def test_names_of_one_tensor_are_found():
    assert tied_names(Tied()) == (NAMES,)
    assert tied_names(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))) == ()
    module = nn.Linear(2, 2)
    module.register_buffer("view", module.weight.data[0])  # a part of it is another tensor
    assert tied_names(module) == ()


@pytest.mark.parametrize("present", NAMES)
def test_a_file_may_hold_either_of_two_tied_names(present):
    source = FactorySource(Tied)
    for seed in (1, 2):  # the second is unpickled, not built
        given = snapshot(seed, present)
        module = source(given)
        assert torch.equal(module.emb.weight, given.weights[present])
        assert module.head.weight is module.emb.weight or torch.equal(module.head.weight, module.emb.weight)
        assert source.complete(given.weights).keys() == {*NAMES, "bias"}


def test_what_is_missing_and_tied_to_nothing_is_refused():
    with pytest.raises(ProbeError, match=r"Missing key.*emb\.weight"):
        FactorySource(Tied)(Snapshot(0, 0, {"bias": torch.ones(5)}))


@pytest.mark.parametrize("after", [0, 1])
def test_two_tied_names_that_differ_are_named(after):
    source = FactorySource(Tied)
    for seed in range(after):
        source(snapshot(seed, "emb.weight"))
    with pytest.raises(ProbeError, match=r"emb\.weight and head\.weight are one tensor in the module and differ"):
        source(snapshot(3, *NAMES))


def test_equal_tensors_of_two_tied_names_are_taken():
    given = torch.randn(5, 3)
    given[0, 0] = torch.nan
    assert with_tied({name: given.clone() for name in NAMES}, (NAMES,)).keys() == set(NAMES)
