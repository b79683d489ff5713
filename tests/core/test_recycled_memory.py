# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from lightning_interp.core.recycled_memory import LEAST, RecycledMemory


def test_take_gives_the_memory_of_a_tensor_that_is_gone():
    memory = RecycledMemory()
    first = memory.take(LEAST)
    place = first.data_ptr()
    del first
    assert memory.take(LEAST).data_ptr() == place


def test_take_never_gives_memory_that_a_view_still_shares():
    memory = RecycledMemory()
    kept = memory.take(LEAST).fill_(7)[:3]
    memory.take(LEAST).fill_(9)
    assert kept.tolist() == [7, 7, 7]


def test_take_lets_go_of_what_is_free_before_it_takes_fresh_memory():
    memory = RecycledMemory()
    memory.take(LEAST)
    kept = memory.take(2 * LEAST)
    assert not memory._free
    del kept
    assert [*memory._free] == [2 * LEAST]


def test_memory_begins_where_the_allocator_of_torch_would_have_it_begin():
    assert RecycledMemory().take(LEAST).data_ptr() % 64 == 0  # results of BLAS may depend on it


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.complex64])
def test_copy_is_a_clone(dtype):
    tensor = torch.randint(0, 2, (1200, 1200)).to(dtype)
    copied = RecycledMemory().copy(tensor)
    assert torch.equal(copied, tensor)
    assert (copied.dtype, copied.stride(), copied._is_view()) == (dtype, tensor.stride(), False)
    assert copied.data_ptr() != tensor.data_ptr()


@pytest.mark.parametrize("tensor", [torch.randn(3), torch.randn(1200, 1200).t(), torch.randn(1200, 1200)[:, ::2]])
def test_copy_of_small_or_scattered_tensors_is_a_clone(tensor):
    copied = RecycledMemory().copy(tensor)
    assert torch.equal(copied, tensor)
    assert copied.stride() == tensor.clone().stride()


def test_copy_of_a_parameter_is_a_tensor_without_its_history():
    copied = RecycledMemory().copy(nn.Parameter(torch.randn(1200, 1200)))
    assert (copied.requires_grad, copied.grad_fn) == (False, None)


def test_memory_of_a_module_comes_back_with_the_module():
    memory = RecycledMemory()
    layer = nn.Linear(1, 1)
    layer.weight = nn.Parameter(memory.copy(torch.randn(1200, 1200)))
    place = layer.weight.data_ptr()
    del layer
    assert memory.take(4 * 1200 * 1200).data_ptr() == place
