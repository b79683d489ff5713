# SPDX-License-Identifier: Apache-2.0
import math
import statistics

import pytest
import torch

from lightning_interp.core.errors import MeasureSkipped, ShapeError
from lightning_interp.measures import ScoreMargin, score_margin
from lightning_interp.measures import margins as margins_module


def random_scores(examples=50, classes=7, seed=0):
    return torch.randn(examples, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_margins(logits):
    rows = [sorted(row, reverse=True) for row in logits.tolist()]
    return [(row[0] - row[1]) / statistics.stdev(row) for row in rows]


def test_margins_equal_the_definition_written_out():
    logits = random_scores()
    # Deviations of 7 numbers: rounding of order 1e-15.
    assert score_margin(logits).tolist() == pytest.approx(slow_margins(logits), rel=1e-13)


def test_margins_do_not_depend_on_scale_or_offset_of_the_scores():
    logits = random_scores()
    # Adding 3 to numbers of order 1 moves each by 1e-16; differences of neighbours can be a hundredth of that order.
    assert score_margin(40 * logits + 3).tolist() == pytest.approx(score_margin(logits).tolist(), rel=1e-10)


@pytest.mark.parametrize("classes", [2, 5, 113])
def test_one_class_above_equal_others_has_the_largest_margin(classes):
    sure = torch.nn.functional.one_hot(torch.tensor([1]), classes).float()
    assert score_margin(sure).item() == pytest.approx(math.sqrt(classes), rel=1e-12)


def test_a_tie_has_no_margin():
    assert score_margin(torch.tensor([[2.0, 2.0, 0.0]])).tolist() == [0.0]


def test_examples_with_equal_scores_are_left_out():
    assert len(score_margin(torch.cat([torch.zeros(3, 4), torch.eye(4)]))) == 4


def test_margins_in_blocks_equal_margins_at_once(monkeypatch):
    logits = random_scores()
    whole = score_margin(logits)
    monkeypatch.setattr(margins_module, "CHUNK_ELEMENTS", 20)
    assert torch.equal(score_margin(logits), whole)


@pytest.mark.parametrize("shape", [(4, 1), (4, 0)])
def test_margins_need_two_classes(shape):
    with pytest.raises(ShapeError, match="two classes or more"):
        score_margin(torch.zeros(shape))


def test_the_measure_gives_the_mean_of_either_split(fake, build):
    scores = {"train": random_scores(seed=1), "heldout": random_scores(seed=2)}
    targets = torch.zeros(50, dtype=torch.long)
    seen = fake(split_outputs={split: build["classified"](values, targets) for split, values in scores.items()})
    expected = {f"{split}_margin": statistics.mean(slow_margins(values)) for split, values in scores.items()}
    assert ScoreMargin()(seen) == pytest.approx(expected, rel=1e-13)


def test_the_measure_leaves_out_a_split_that_is_not_there(fake, build):
    outputs = build["classified"](random_scores(), torch.zeros(50, dtype=torch.long))
    assert list(ScoreMargin()(fake(split_outputs={"train": outputs}))) == ["train_margin"]


@pytest.mark.parametrize("classes", [1, 2])
def test_the_measure_has_nothing_to_say_about_fewer_than_three_classes(fake, build, classes):
    outputs = build["classified"](random_scores(5, classes), torch.zeros(5, dtype=torch.long))
    with pytest.raises(MeasureSkipped, match="three classes or more"):
        ScoreMargin()(fake(split_outputs={"train": outputs}))
