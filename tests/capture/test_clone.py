# SPDX-License-Identifier: Apache-2.0
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import distributed, nn

from lightning_interp.capture import SnapshotBuffers, check_capturable, take_snapshot
from lightning_interp.capture.clone import parameter_names
from lightning_interp.core.errors import ConfigError


def holding(**tensors: torch.Tensor) -> nn.Module:
    """A module with these buffers."""
    module = nn.Module()
    for name, tensor in tensors.items():
        module.register_buffer(name, tensor)
    return module


def snapshot(module: nn.Module, **scalars: torch.Tensor | float):
    raw = take_snapshot(module, SnapshotBuffers(1), step=3, epoch=1, scalars=scalars)
    assert raw is not None
    return raw


@pytest.fixture
def one_rank(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_take_snapshot_copies_are_private():
    module = nn.Linear(3, 2)
    before = module.weight.detach().clone()
    raw = snapshot(module)
    with torch.no_grad():
        module.weight.add_(1.0)
    assert torch.equal(raw.copies.tensors["weight"], before)


def test_take_snapshot_leaves_the_module_as_it_was():
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    snapshot(module)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


class GivesCopies(nn.Sequential):
    """Its state_dict is in half precision, in memory of its own."""

    def state_dict(self, *args, **kwargs):
        return {name: tensor.half() for name, tensor in super().state_dict(*args, **kwargs).items()}


def test_parameters_are_found_by_name_where_the_state_dict_gives_copies():
    module = GivesCopies(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    module[2].requires_grad_(False)
    kept = ("0.weight", "0.bias", "1.weight", "1.bias")
    assert parameter_names(module) == (*kept, "2.weight", "2.bias")
    assert parameter_names(module, without=("2.weight", "2.bias")) == kept
    assert snapshot(module).frozen == {"2.weight", "2.bias"}


def test_take_snapshot_holds_tied_parameters_once_with_an_alias():
    module = nn.ModuleDict({"embed": nn.Embedding(4, 3), "head": nn.Linear(3, 4, bias=False)})
    module["head"].weight = module["embed"].weight
    raw = snapshot(module)
    assert (list(raw.copies.tensors), raw.aliases) == (["embed.weight"], {"head.weight": "embed.weight"})


def test_take_snapshot_keeps_two_views_of_one_storage_apart():
    data = torch.arange(6.0)
    raw = snapshot(holding(left=data[:3], right=data[3:], turned=data.view(2, 3).t()))
    assert raw.aliases == {}
    assert raw.copies.tensors["turned"].tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6.0).view(2, 3).t(),
        torch.ones(1).expand(4),
        torch.tensor(2.5),
        torch.zeros(0, 3),
        torch.ones(3, dtype=torch.bfloat16),
        torch.arange(4),
        torch.tensor([True, False]),
    ],
    ids=["transposed", "expanded", "0-dim", "empty", "bfloat16", "int64", "bool"],
)
def test_take_snapshot_copies_every_ordinary_tensor(tensor):
    copy = snapshot(holding(value=tensor)).copies.tensors["value"]
    assert copy.dtype == tensor.dtype
    assert torch.equal(copy, tensor)


def test_take_snapshot_copy_of_an_expanded_tensor_is_private():
    base = torch.ones(1)
    raw = snapshot(holding(value=base.expand(3)))
    base.zero_()
    assert raw.copies.tensors["value"].tolist() == [1.0, 1.0, 1.0]


def test_take_snapshot_keeps_empty_tensors_apart():
    raw = snapshot(holding(first=torch.zeros(0), second=torch.zeros(0)))
    assert (list(raw.copies.tensors), raw.aliases) == (["first", "second"], {})


def test_take_snapshot_copies_logged_tensors():
    loss = torch.tensor(2.0)
    raw = snapshot(nn.Linear(1, 1), loss=loss, lr=0.1)
    loss.zero_()
    assert raw.copies.arrived() == {"loss": 2.0, "lr": 0.1}


def test_take_snapshot_names_parameters_that_do_not_train():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[0].requires_grad_(False)
    assert snapshot(module).frozen == {"0.weight", "0.bias"}


def test_take_snapshot_strips_names_of_compiled_wrappers():
    module = nn.Sequential(torch.compile(nn.Linear(2, 2), backend="eager"))
    assert list(snapshot(module).copies.tensors) == ["0.weight", "0.bias"]


def test_take_snapshot_carries_no_gradient():
    assert not any(tensor.requires_grad for tensor in snapshot(nn.Linear(2, 2)).copies.tensors.values())


def quantized() -> torch.Tensor:
    with warnings.catch_warnings():  # newer torch announces the end of this format
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: torch.eye(3).to_sparse(), "of layout torch.sparse_coo"),
        (quantized, "quantized"),
        (lambda: torch.empty(3, device="meta"), "on the meta device"),
        (lambda: torch.ones(2, dtype=torch.complex64), "complex"),
    ],
    ids=["sparse", "quantized", "meta", "complex"],
)
def test_check_capturable_names_the_tensor_it_cannot_copy(make, reason):
    with pytest.raises(ConfigError, match=f"`value` is {reason}.*train the module unsharded and with ordinary dense"):
        check_capturable(holding(value=make()))


def test_check_capturable_refuses_lazy_parameters():
    with pytest.raises(ConfigError, match="`weight` is a lazy parameter without a shape yet"):
        check_capturable(nn.LazyLinear(3))


@pytest.mark.filterwarnings("ignore:DTensor random operators")  # torch 2.6 says so of every mesh of CPUs
def test_check_capturable_refuses_sharded_parameters(one_rank):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    module = nn.Linear(4, 4)
    mesh = init_device_mesh("cpu", (1,))
    module.weight = nn.Parameter(distribute_tensor(module.weight.detach(), mesh, [Shard(0)]))
    with pytest.raises(ConfigError, match="`weight` is a sharded DTensor"):
        check_capturable(module)


def test_check_capturable_refuses_names_that_collide_without_prefixes():
    module = nn.ModuleDict({"module": nn.Linear(2, 2)})
    module.register_parameter("weight", nn.Parameter(torch.ones(2)))
    with pytest.raises(ConfigError, match=r"two tensors are named `weight`.*Rename"):
        check_capturable(module)


def test_check_capturable_accepts_an_ordinary_module():
    check_capturable(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
