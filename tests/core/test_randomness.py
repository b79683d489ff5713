# SPDX-License-Identifier: Apache-2.0
import functools
import random

import numpy as np
import pytest
import torch

from lightning_interp.core.randomness import untouched_randomness


class Holder:
    def __init__(self, value: object) -> None:
        self.value = value


def draw_everywhere() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), torch.rand(1).item()


def test_untouched_randomness_puts_global_streams_back():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = draw_everywhere()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    with untouched_randomness():
        draw_everywhere()
    assert draw_everywhere() == expected


def test_untouched_randomness_puts_streams_back_after_an_error():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), untouched_randomness():
        torch.rand(1)
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), before)


GENERATORS = {
    "python": (lambda: random.Random(1), lambda g: g.random()),
    "numpy": (lambda: np.random.default_rng(1), lambda g: g.random()),
    "numpy, old": (lambda: np.random.RandomState(1), lambda g: g.rand()),
    "torch": (lambda: torch.Generator().manual_seed(1), lambda g: torch.rand(1, generator=g).item()),
}
PLACES = {
    "itself": lambda g: g,
    "attribute": Holder,
    "list": lambda g: Holder([1, g]),
    "dict": lambda g: Holder({"rng": g}),
    "three deep": lambda g: Holder(Holder(Holder(g))),
    "closure": lambda g: lambda: g,
    "partial": lambda g: functools.partial(print, end=g),
    "method": lambda g: Holder(g).__init__,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", GENERATORS)
def test_untouched_randomness_puts_held_generators_back(kind, place):
    make, draw = GENERATORS[kind]
    generator = make()
    with untouched_randomness(PLACES[place](generator)):
        inside = draw(generator)
    assert draw(generator) == inside


def test_untouched_randomness_copes_with_cycles_and_empty_closures():
    holder = Holder(None)
    holder.value = holder

    def later() -> object:
        return not_yet

    with untouched_randomness(holder, later):
        pass
    not_yet = None
