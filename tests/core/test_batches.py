# SPDX-License-Identifier: Apache-2.0
from collections import namedtuple

import torch

from lightning_interp.core.batches import byte_count, example_count, map_tensors, tensors_of, to_cpu

Pair = namedtuple("Pair", "x y")
NESTED = {"x": [torch.zeros(3, 2), "text"], "more": (torch.tensor(1.0), {"y": torch.ones(3, dtype=torch.long)})}


def test_map_tensors_keeps_the_nesting():
    doubled = map_tensors({"a": [torch.ones(1), "text"], "b": (None, 3)}, lambda tensor: tensor * 2)
    assert doubled == {"a": [torch.tensor([2.0]), "text"], "b": (None, 3)}


def test_map_tensors_keeps_named_tuples():
    assert type(map_tensors(Pair(torch.ones(1), 2), lambda tensor: tensor)) is Pair


def test_tensors_of_walks_depth_first():
    assert [tensor.numel() for tensor in tensors_of(NESTED)] == [6, 1, 3]


def test_example_count_is_the_first_axis_of_the_first_tensor_with_axes():
    assert example_count((torch.tensor(1.0), {"x": torch.zeros(7, 2)})) == 7


def test_example_count_of_no_tensor_is_one():
    assert example_count("text") == 1


def test_byte_count_adds_up_all_tensors():
    assert byte_count(NESTED) == 6 * 4 + 4 + 3 * 8


def test_to_cpu_copies():
    tensor = torch.zeros(2)
    copy = to_cpu([tensor])
    tensor.add_(1)
    assert copy[0].tolist() == [0.0, 0.0]
