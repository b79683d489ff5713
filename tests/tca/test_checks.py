# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from lightning_interp.core.errors import ConfigError, ShapeError
from lightning_interp.tca.checks import (
    check_activations,
    check_choice,
    check_whole,
    checked_heldout,
    checked_labels,
    checked_steps,
)


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4, 5), (3, 0, 4)])
def test_check_activations_refuses_other_or_empty_axes(shape):
    with pytest.raises(ShapeError, match=r"f: `tensor` needs the axes \(snapshot, stimulus, unit\), none empty, got shape"):
        check_activations(torch.ones(shape), caller="f")


def test_check_activations_refuses_integers():
    with pytest.raises(ShapeError, match=r"floating-point numbers, got torch\.int64\. Convert it"):
        check_activations(torch.ones(2, 3, 4, dtype=torch.long), caller="f")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_check_activations_says_where_an_entry_is_not_finite(value):
    tensor = torch.ones(2, 3, 4)
    tensor[1, 0, 2] = tensor[1, 2, 3] = value
    with pytest.raises(
        ShapeError, match=rf"but is {value} at snapshot 1, stimulus 0, unit 2 \(2 of 24 entries are not finite\)"
    ):
        check_activations(tensor, caller="f")


@pytest.mark.parametrize("steps", [[0, 3, 10], (0, 3, 10), range(0, 20, 7), np.array([0, 3, 10]), torch.tensor([0, 3, 10])])
def test_checked_steps_takes_integers_of_every_kind(steps):
    plain = checked_steps(steps, 3, caller="f")
    assert plain == tuple(int(step) for step in steps) and all(type(step) is int for step in plain)


@pytest.mark.parametrize(
    ("steps", "error", "text"),
    [
        ([0, 1], ShapeError, "one of `steps` per snapshot, 3 in all, got 2"),
        ([0, 5, 5], ConfigError, "must ascend strictly, got 5 after 5"),
        ([0, 5, 4], ConfigError, "must ascend strictly, got 4 after 5"),
        ([-1, 5, 6], ConfigError, "must not be negative, got -1 first"),
        ([0.0, 1.0, 2.0], ConfigError, r"must be integers \(optimizer steps\)"),
    ],
)
def test_checked_steps_refuses(steps, error, text):
    with pytest.raises(error, match=text):
        checked_steps(steps, 3, caller="f")


@pytest.mark.parametrize("labels", [[0, 1], [0.0, 1.0, 2.0], [True, False, True], [[0], [1], [2]]])
def test_checked_labels_refuses_what_is_not_one_integer_per_stimulus(labels):
    with pytest.raises(ShapeError, match="f: `labels` must be one integer class per stimulus, 3 in all, got shape"):
        checked_labels(labels, 3, caller="f")


@pytest.mark.parametrize("heldout", [[True, False], [0, 1, 1]])
def test_checked_heldout_refuses_what_is_not_one_boolean_per_stimulus(heldout):
    with pytest.raises(ShapeError, match=r"one boolean per stimulus \(True: not trained on\), 3 in all, got shape"):
        checked_heldout(heldout, 3, caller="f")


def test_checked_labels_and_heldout_pass_none_on():
    assert checked_labels(None, 3, caller="f") is None
    assert checked_heldout(None, 3, caller="f") is None


def test_check_choice_names_the_choices():
    check_choice("rms", "scale", ("rms", "none"), caller="f")
    with pytest.raises(ConfigError, match="f: `scale` must be one of rms, none, got 'max'"):
        check_choice("max", "scale", ("rms", "none"), caller="f")


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "3"])
def test_check_whole_refuses_anything_but_large_enough_integers(value):
    with pytest.raises(ConfigError, match=r"f: `most` must be an integer of 1 or more, got "):
        check_whole(value, "most", least=1, caller="f")
