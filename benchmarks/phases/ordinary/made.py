# SPDX-License-Identifier: Apache-2.0
"""Data drawn from a seed, where what can be known of the answers is under control."""

import itertools

import torch
from ordinary.examples import Examples
from torch import Tensor


def _draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(3000 + seed)


def gaussians(*, seed: int, classes: int = 5, dims: int = 20, spread: float = 1.0, count: int = 4000) -> Examples:
    """Classes that overlap: unit-normal centers, normal noise of a spread about them."""
    draw = _draw(seed)
    centers = torch.randn(classes, dims, generator=draw)
    answers = torch.randint(classes, (count,), generator=draw)
    inputs = centers[answers] + spread * torch.randn(count, dims, generator=draw)
    return Examples(inputs, answers, "classification", classes)


def teacher(*, seed: int, classes: int = 5, dims: int = 16, hidden: int = 24, count: int = 6000) -> Examples:
    """The class a random network prefers."""
    draw = _draw(seed)
    inputs = torch.randn(count, dims, generator=draw)
    first, second = torch.randn(dims, hidden, generator=draw), torch.randn(hidden, classes, generator=draw)
    scores = (inputs @ first / dims**0.5).tanh() @ second
    return Examples(inputs, (scores - scores.mean(0)).argmax(1), "classification", classes)


def spirals(*, seed: int, noise: float = 0.1, count: int = 1200) -> Examples:
    """Two arms that wind about each other."""
    draw = _draw(seed)
    answers = torch.randint(2, (count,), generator=draw)
    radius = torch.rand(count, generator=draw).sqrt()
    angle = 3 * torch.pi * radius + torch.pi * answers
    inputs = torch.stack([radius * angle.cos(), radius * angle.sin()], 1) * 2
    return Examples(inputs + noise * torch.randn(count, 2, generator=draw), answers, "classification", 2)


def friedman(*, seed: int, noise: float = 0.2, count: int = 2000) -> Examples:
    """A smooth function of five of ten numbers (Friedman 1991), of unit variance before the noise."""
    draw = _draw(seed)
    x = torch.rand(count, 10, generator=draw)
    y = 10 * (torch.pi * x[:, 0] * x[:, 1]).sin() + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    y = (y - y.mean()) / y.std() + noise * torch.randn(count, generator=draw)
    return Examples(2 * x - 1, y[:, None], "regression")


def linear_teacher(*, seed: int, dims: int = 40, noise: float = 0.0, count: int = 2000) -> Examples:
    """A linear function of unit variance."""
    draw = _draw(seed)
    inputs = torch.randn(count, dims, generator=draw)
    weights = torch.randn(dims, generator=draw)
    answers = inputs @ (weights / weights.norm()) + noise * torch.randn(count, generator=draw)
    return Examples(inputs, answers[:, None], "regression")


def no_relation(*, seed: int, dims: int = 20, count: int = 2000) -> Examples:
    """Numbers that have nothing to do with the inputs."""
    draw = _draw(seed)
    return Examples(torch.randn(count, dims, generator=draw), torch.randn(count, 1, generator=draw), "regression")


def label_teacher(*, seed: int, labels: int = 8, dims: int = 24, noise: float = 0.5, count: int = 3000) -> Examples:
    """Eight yes-or-no answers, each by a noisy linear rule of its own."""
    draw = _draw(seed)
    inputs = torch.randn(count, dims, generator=draw)
    scores = inputs @ torch.randn(dims, labels, generator=draw) / dims**0.5
    scores = scores + noise * torch.randn(count, labels, generator=draw) - torch.linspace(-0.5, 1.0, labels)
    return Examples(inputs, (scores > 0).float(), "multilabel")


def rare_rule(*, seed: int, rare: float = 0.01, dims: int = 8, count: int = 6000) -> Examples:
    """Two classes, one of them rare: inputs far out along one direction."""
    draw = _draw(seed)
    inputs = torch.randn(count, dims, generator=draw)
    score = inputs @ torch.randn(dims, generator=draw)
    return Examples(inputs, (score > torch.quantile(score, 1 - rare)).long(), "classification", 2)


def rare_random(*, seed: int, rare: float = 0.01, dims: int = 8, count: int = 6000) -> Examples:
    """Two classes, one of them rare, without a rule."""
    draw = _draw(seed)
    inputs, lot = torch.randn(count, dims, generator=draw), torch.rand(count, generator=draw)
    return Examples(inputs, (lot < rare).long(), "classification", 2)


def shapes(*, seed: int, size: int = 12, noise: float = 0.4, count: int = 900) -> Examples:
    """Whether each pixel belongs to the background, a bright disc or a dark square."""
    draw = _draw(seed)
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    centers = torch.randint(2, size - 2, (count, 4, 1, 1), generator=draw)
    disc = (rows - centers[:, 0]) ** 2 + (columns - centers[:, 1]) ** 2 <= 6
    square = ((rows - centers[:, 2]).abs() <= 2) & ((columns - centers[:, 3]).abs() <= 2)
    answers = torch.where(disc, 1, torch.where(square, 2, 0))
    images = disc.float() - (square & ~disc).float() + noise * torch.randn(count, size, size, generator=draw)
    return Examples(images[:, None], answers, "dense", 3)


def markov(*, seed: int, tokens: int = 16, length: int = 24, sharpness: float = 2.0, count: int = 20_000) -> Examples:
    """The next token of a chain of first order."""
    draw = _draw(seed)
    moves = (sharpness * torch.randn(tokens, tokens, generator=draw)).softmax(1)
    walk = [torch.randint(tokens, (count,), generator=draw)]
    for _ in range(length):
        walk.append(torch.multinomial(moves[walk[-1]], 1, generator=draw)[:, 0])
    chain = torch.stack(walk, 1)
    return Examples(chain[:, :-1].contiguous(), chain[:, 1:].contiguous(), "lm", tokens, tokens=tokens)


def subjects(
    *, seed: int, classes: int = 4, people: int = 60, each: int = 20, dims: int = 30, rule: bool = True
) -> Examples:
    """Several examples a person that resemble each other; the person's class follows a rule, or a lot."""
    draw = _draw(seed)
    centers = torch.randn(people, dims, generator=draw)
    by_rule = (centers @ torch.randn(dims, classes, generator=draw)).argmax(1)
    by_lot = torch.randint(classes, (people,), generator=draw)
    person = torch.arange(people).repeat_interleave(each)
    inputs = centers[person] + 0.7 * torch.randn(people * each, dims, generator=draw)
    return Examples(inputs, (by_rule if rule else by_lot)[person], "classification", classes, groups=person)


def parity(*, seed: int, bits: int = 20, deciding: int = 3, count: int = 3000) -> Examples:
    """Whether an even number of a few bits is set, among others that do not matter."""
    values = torch.randint(2, (count, bits), generator=_draw(seed))
    return Examples(2.0 * values - 1.0, values[:, :deciding].sum(1) % 2, "classification", 2)


def modular(*, p: int = 23, subtract: bool = False) -> Examples:
    """(a + b) or (a - b) modulo p for all pairs; for sums (a, b) and (b, a) stay on one side."""
    a, b = torch.tensor(list(itertools.product(range(p), repeat=2))).T
    answers = (a - b) % p if subtract else (a + b) % p
    pair = torch.minimum(a, b) * p + torch.maximum(a, b)
    groups: Tensor | None = None if subtract else torch.unique(pair, return_inverse=True)[1]
    return Examples(torch.stack([a, b], 1), answers, "classification", p, groups, tokens=p)


def factors(*, seed: int, dims: int = 32, rank: int = 4, noise: float = 0.1, count: int = 2000) -> Examples:
    """Points near a plane, as their own answers."""
    draw = _draw(seed)
    points = torch.randn(count, rank, generator=draw) @ torch.randn(rank, dims, generator=draw) / rank**0.5
    points = points + noise * torch.randn(count, dims, generator=draw)
    return Examples(points, points, "autoencoder")
