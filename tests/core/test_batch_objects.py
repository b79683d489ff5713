# SPDX-License-Identifier: Apache-2.0
import copy
import gc
from collections import OrderedDict, defaultdict
from types import MappingProxyType

import pytest
import torch
from batch_kinds import MAKES, Bunch, Encoding, Frozen, Graph, Moves, Named, graphs
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from lightning_interp.core.batches import byte_count, example_count, map_tensors, take_examples, tensors_of, to_cpu

X, Y = torch.arange(12.0).reshape(6, 2), torch.arange(6)


def made(kind):
    return MAKES[kind](X.clone(), Y.clone())


@pytest.mark.parametrize("kind", MAKES)
def test_every_kind_of_batch_stays_what_it_is_and_the_given_one_is_untouched(kind):
    batch = made(kind)
    before = [(tensor, tensor.clone()) for tensor in tensors_of(batch)]
    doubled = map_tensors({"inner": [batch]}, lambda tensor: tensor * 2)["inner"][0]
    assert type(doubled) is type(batch)
    assert torch.equal(doubled.x, batch.x * 2)
    assert torch.equal(doubled.y, 2 * Y)
    assert len(before) >= 2
    assert all(held is tensor and torch.equal(held, copied) for held, (tensor, copied) in zip(
        tensors_of(batch), before, strict=True
    ))  # fmt: skip


@pytest.mark.parametrize("kind", MAKES)
def test_a_copy_shares_no_memory(kind):
    batch = made(kind)
    copied = to_cpu(batch)
    for tensor in tensors_of(batch):
        tensor.zero_()
    assert torch.equal(copied.y, Y)


@pytest.mark.parametrize("kind", MAKES)
def test_examples_and_bytes_of_every_kind_are_counted(kind):
    batch = made(kind)
    assert example_count(batch) == 6
    assert byte_count(batch) >= X.nbytes + Y.nbytes


@pytest.mark.parametrize("kind", MAKES)
def test_examples_of_every_kind_can_be_taken(kind):
    taken = take_examples(made(kind), torch.tensor([1, 4]))
    assert type(taken) is type(made(kind))
    assert taken.y.tolist() == [1, 4]
    assert example_count(taken) == 2


def test_no_method_of_a_batch_is_called():
    class Strict(Encoding):
        def __init__(self, data):
            raise AssertionError

        to = cpu = clone = __copy__ = __deepcopy__ = __setattr__ = __init__

    batch = object.__new__(Strict)
    batch.__dict__["data"] = {"x": X}
    assert torch.equal(to_cpu(batch).x, X)


def test_an_entry_that_is_an_attribute_too_stays_one():
    doubled = map_tensors(Bunch(x=X), lambda tensor: tensor * 2)
    assert doubled.x is doubled["x"]
    doubled["more"] = 1
    assert doubled.more == 1


def test_what_points_back_points_to_the_copy():
    batch = graphs(X, Y)
    copied = to_cpu(batch)
    assert copied._store._parent() is copied
    del batch
    gc.collect()
    assert copied._store._parent() is copied


def test_a_device_that_a_batch_keeps_follows_its_tensors():
    assert to_cpu(Moves((X, Y), "meta")).device == torch.device("cpu")


def test_python_s_own_containers_stay_what_they_are():
    ordered = OrderedDict(b=X, a=Y)
    ordered.move_to_end("b")
    kept = to_cpu(ordered)
    assert (type(kept), list(kept)) == (OrderedDict, ["a", "b"])
    assert to_cpu(defaultdict(list, x=X)).default_factory is list
    assert type(to_cpu(MappingProxyType({"x": X}))) is dict


def test_what_holds_no_tensors_of_a_batch_is_left_alone():
    module, text = nn.Linear(2, 2), "text"
    batch = Frozen(X, module, text)
    assert to_cpu(batch).y is module


class Cleans(Moves):
    """Cleans up after itself: a copy would do so, too."""

    def __del__(self):
        self.y.zero_()


def test_what_cleans_up_after_itself_is_not_copied():
    batch = Cleans((X, Y.clone()))
    assert to_cpu(batch) is batch


def test_a_graph_alone_is_one_example_and_its_batch_vector_counts_where_there_is_one():
    alone = Graph(x=torch.zeros(5, 2), edge_index=torch.zeros(2, 9, dtype=torch.long), train_mask=torch.ones(5))
    assert example_count(alone) == 1
    assert example_count((alone, torch.zeros(5))) == 1
    vector = Graph(**alone._store.data, batch=torch.tensor([0, 0, 1, 2, 2]))
    assert example_count(vector) == 3


def test_examples_with_one_graph_in_common_count_by_themselves():
    assert example_count(Graph(x=torch.zeros(7, 5, 2), edge_index=torch.zeros(2, 9, dtype=torch.long))) == 7


def test_a_mapping_is_counted_by_its_tensors_not_its_keys():
    assert example_count(Encoding({"ids": torch.zeros(7, 3), "mask": torch.zeros(7, 3), "labels": torch.zeros(7)})) == 7


def test_packed_sequences_count_by_sequences_and_are_taken_whole_or_not():
    packed = pack_sequence([torch.ones(3), torch.ones(2)])
    assert example_count(packed) == 2
    assert type(to_cpu(packed)) is type(packed)
    assert take_examples(packed, torch.tensor([0])) is None


def test_graphs_that_only_come_as_a_whole_say_so():
    alone = Graph(x=torch.zeros(5, 2), edge_index=torch.zeros(2, 9, dtype=torch.long))
    assert take_examples(alone, torch.tensor([0])) is None


def test_a_named_tuple_within_a_batch_object_stays_one():
    inner = to_cpu(Bunch(pair=Named(X, Y))).pair
    assert type(inner) is Named
    assert copy.copy(inner).x is inner.x
