# SPDX-License-Identifier: Apache-2.0
from collections import namedtuple

import pytest
import torch
from batch_kinds import MAKES, Encoding

from lightning_interp.analysis.exchanged_answers import exchange_answers
from lightning_interp.core.errors import MeasureSkipped

Pair = namedtuple("Pair", "y x")


def typed(kind):
    return lambda n: MAKES[kind](n[:, None], 10 * n)


def batches(*sizes, make):
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    return tuple(make(torch.arange(start, start + size)) for start, size in zip(starts, sizes, strict=True))


KINDS = {
    "pair": (lambda n: (n, 10 * n), lambda b: b[1]),
    "list": (lambda n: [n, 10 * n], lambda b: b[1]),
    "labels": (lambda n: {"input": n, "labels": 10 * n}, lambda b: b["labels"]),
    "y": (lambda n: {"x": n, "y": 10 * n, "name": "s"}, lambda b: b["y"]),
    "triple": (lambda n: (n, n > 0, 10 * n), lambda b: b[2]),
    "named": (lambda n: Pair(10 * n, n), lambda b: b.y),
    **{kind: (typed(kind), lambda b: b.y) for kind in MAKES},
    "nested": (lambda n: (n, {"a": 10 * n, "b": (n,)}), lambda b: b[1]["a"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_example_has_the_answer_of_another_and_none_is_lost(kind):
    make, answer = KINDS[kind]
    moved = torch.cat([answer(batch) for batch in exchange_answers(batches(4, 3, make=make))])
    assert sorted(moved.tolist()) == [0, 10, 20, 30, 40, 50, 60]
    assert (moved != 10 * torch.arange(7)).all()


def test_inputs_and_forms_of_batches_stay():
    moved = exchange_answers(batches(4, 3, make=KINDS["labels"][0]))
    assert [batch["input"].tolist() for batch in moved] == [[0, 1, 2, 3], [4, 5, 6]]
    assert type(exchange_answers(batches(4, make=KINDS["list"][0]))[0]) is list


@pytest.mark.parametrize("kind", MAKES)
def test_batches_of_every_kind_stay_what_they_are_and_the_given_ones_are_untouched(kind):
    given = batches(4, 3, make=KINDS[kind][0])
    moved = exchange_answers(given)
    assert [type(batch) for batch in moved] == [type(batch) for batch in given]
    assert torch.equal(moved[1].x, given[1].x)
    assert torch.cat([batch.y for batch in given]).tolist() == [0, 10, 20, 30, 40, 50, 60]


def test_parts_of_one_answer_stay_together():
    moved = exchange_answers(batches(4, 3, make=KINDS["nested"][0]))
    assert all(torch.equal(batch[1]["a"], 10 * batch[1]["b"][0]) for batch in moved)


def test_answers_of_other_shapes_stay_in_their_batch():
    moved = exchange_answers(((torch.zeros(2), torch.tensor([[1, 1], [2, 2]])), (torch.zeros(2), torch.tensor([[3], [4]]))))
    assert [batch[1].tolist() for batch in moved] == [[[2, 2], [1, 1]], [[4], [3]]]


def test_the_exchange_is_always_the_same_and_leaves_randomness_alone():
    before = torch.get_rng_state()
    one, other = (exchange_answers(batches(9, make=KINDS["pair"][0]))[0][1] for _ in range(2))
    assert torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        (torch.zeros(4, 2), "neither"),
        ((torch.zeros(4), torch.zeros(4), torch.zeros(4)), "neither"),
        ((torch.zeros(4, 2), torch.zeros(4), torch.arange(4)), "neither"),
        (Encoding({"x": torch.zeros(4)}), "beside inputs"),
        ({"x": torch.zeros(4)}, "no labels, label, targets, target, y beside inputs"),
        ({"y": torch.zeros(4)}, "beside inputs"),
        ((torch.zeros(4), torch.zeros(3)), "one row for each example"),
        ((torch.zeros(4), torch.tensor(1.0)), "one row for each example"),
        ((torch.zeros(4), ["a", "b", "c", "d"]), "one row for each example"),
        ((torch.zeros(1), torch.zeros(1)), "nobody to exchange"),
    ],
)
def test_batches_whose_answers_cannot_be_exchanged_say_why(batch, reason):
    with pytest.raises(MeasureSkipped, match=reason):
        exchange_answers((batch,))
