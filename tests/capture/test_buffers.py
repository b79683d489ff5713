# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from lightning_interp.capture import SnapshotBuffers, take_snapshot
from lightning_interp.capture.buffers import CopySet, _aligned, _views, layout_of


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return dict(module.state_dict())


def test_memory_is_used_again_once_given_back():
    buffers, module = SnapshotBuffers(1), nn.Linear(3, 2)
    first = buffers.take(state(module))
    pointers = [tensor.data_ptr() for tensor in first.tensors.values()]
    buffers.give_back(first)
    again = buffers.take(state(module))
    assert [tensor.data_ptr() for tensor in again.tensors.values()] == pointers


def test_no_more_sets_are_out_than_allowed():
    buffers, module = SnapshotBuffers(2), nn.Linear(3, 2)
    taken = [buffers.take(state(module)) for _ in range(3)]
    assert taken[2] is None
    buffers.give_back(taken[0])
    assert buffers.take(state(module)) is taken[0]


def test_take_snapshot_is_none_while_all_buffers_are_out():
    buffers, module = SnapshotBuffers(1), nn.Linear(3, 2)
    assert take_snapshot(module, buffers, step=1, epoch=0, scalars={}) is not None
    assert take_snapshot(module, buffers, step=2, epoch=0, scalars={}) is None


def test_a_module_that_changes_its_tensors_gets_new_memory():
    buffers = SnapshotBuffers(1)
    buffers.give_back(buffers.take(state(nn.Linear(3, 2))))
    wider = buffers.take(state(nn.Linear(5, 2)))
    assert wider.tensors["weight"].shape == (2, 5)
    assert buffers.take(state(nn.Linear(5, 2))) is None  # still one set in all


def test_a_second_copy_into_the_same_memory_has_the_new_values():
    module = nn.Linear(3, 2)
    copies = CopySet(state(module))
    for value in (1.0, 2.0):
        nn.init.constant_(module.weight, value)
        copies.copy(state(module), {"loss": torch.tensor(value)})
        assert copies.tensors["weight"].unique().tolist() == [value]
        assert copies.arrived() == {"loss": value}


def test_logged_values_that_are_no_single_numbers_are_left_out():
    copies = CopySet({})
    copies.copy({}, {"lr": 0.1, "per_class": torch.ones(3)})
    assert copies.arrived() == {"lr": 0.1}


def test_layout_tells_dtypes_apart():
    one = {"w": torch.zeros(3)}
    assert layout_of(one) != layout_of({"w": torch.zeros(3, dtype=torch.float64)})


def test_flat_views_hold_every_tensor_apart():
    """The layout of the GPU's buffers, on the CPU."""
    live = {"a": torch.randn(3), "b": torch.ones(2, 2, dtype=torch.bfloat16), "c": torch.tensor(7), "d": torch.zeros(0)}
    flat = torch.empty(sum(_aligned(tensor) for tensor in live.values()), dtype=torch.uint8)
    views = _views(flat, live)
    torch._foreach_copy_(list(views.values()), list(live.values()))
    assert all(torch.equal(views[name], tensor) for name, tensor in live.items())


@pytest.mark.gpu
def test_copies_from_a_gpu_arrive_and_later_updates_do_not():
    module = nn.Linear(300, 300, device="cuda")
    copies = CopySet(state(module))
    before = module.weight.detach().cpu().clone()
    copies.copy(state(module), {"loss": torch.tensor(2.5, device="cuda")})
    with torch.no_grad():
        module.weight.zero_()
    assert copies.arrived() == {"loss": 2.5}
    assert torch.equal(copies.tensors["weight"], before)
