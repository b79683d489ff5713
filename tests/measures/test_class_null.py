# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from lightning_interp.measures import class_null as module
from lightning_interp.measures import class_null_z

SKEWED = (0.9, 0.04, 0.03, 0.02, 0.01)


def random_case(seed=0, examples=80, classes=7, chosen=0.6, levels=None):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(examples, classes, generator=generator, dtype=torch.float64)
    if levels is not None:  # few different scores: ties. The mean of a class is taken off, which keeps them.
        logits = (levels * logits).round()
    targets = torch.randint(classes - 1, (examples,), generator=generator)  # the last class is no answer
    candidates = torch.rand(examples, classes, generator=generator) < chosen
    candidates[:3] = False
    return logits, targets, candidates


def slow_z(logits, targets, candidates):
    """The definition written out: cells one by one, the additive fit by least squares on a table of indicators."""
    scores = (logits.double() - logits.double().mean(dim=0)).numpy()
    rows = [i for i in range(len(scores)) if candidates[i].sum() > 1]
    present = sorted({int(targets[i]) for i in rows})
    n, v = len(present), 0.0
    cells = np.zeros((n, n))
    for i in rows:
        ranked = [c for c in range(scores.shape[1]) if candidates[i, c]]
        for c in set(ranked) & set(present):
            lower = sum(
                1.0 if scores[i, d] < scores[i, c] else 0.5 * (scores[i, d] == scores[i, c]) for d in ranked if d != c
            )
            cells[present.index(int(targets[i])), present.index(c)] += lower / (len(ranked) - 1) - 0.5
        if candidates[i, targets[i]]:
            v += np.mean([(r / (len(ranked) - 1) - 0.5) ** 2 for r in range(len(ranked))])
    off = [(k, c) for k in range(n) for c in range(n) if k != c]
    design = np.array([[*(np.arange(n) == k), *(np.arange(n) == c)] for k, c in off], dtype=float)
    values = np.array([cells[k, c] for k, c in off])
    fit = np.linalg.lstsq(design, values, rcond=None)[0]
    variance = ((values - design @ fit) ** 2).sum() / (n * (n - 1) - (2 * n - 1))
    excess = sum(cells[k, k] - fit[k] - fit[n + k] for k in range(n))
    return excess / np.sqrt(max(v, n * variance * (1 + 2 / (n - 2))))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "case", [{}, {"chosen": 1.1}, {"levels": 1}, {"chosen": 0.3}, {"classes": 5}], ids=["some", "all", "ties", "few", "four"]
)
def test_class_null_z_equals_the_definition_written_out(case, dtype):
    logits, targets, candidates = random_case(**case)
    logits = logits.to(dtype)
    # Least squares of numbers of order 1 to 10 over 40 cells: rounding of order 1e-14.
    assert class_null_z(logits, targets, candidates) == pytest.approx(slow_z(logits, targets, candidates), abs=1e-11)


def test_forty_copies_of_one_example_of_each_class_are_no_evidence():
    targets, values = torch.arange(8).repeat(40), []
    for seed in range(200):
        logits = torch.randn(8, 8, generator=torch.Generator().manual_seed(seed)).repeat(40, 1)
        values.append(class_null_z(logits, targets, torch.ones_like(logits, dtype=torch.bool)))
    # Taken as independent they would have a deviation of root 40.
    assert 0.8 < torch.tensor(values).std() < 1.25


@pytest.mark.parametrize("classes", [4, 10])
def test_class_null_z_of_a_perfect_network_is_known(classes):
    targets = torch.arange(20 * classes) % classes
    logits = torch.nn.functional.one_hot(targets, classes).double()
    # Right answers at 1/2, all others tie at -1 / (2 (n - 1)): nothing is left of the fit, ranks are the null. The excess of
    # each is n / (2 (n - 1)), the variance of a uniform rank among n (n + 1) / (12 (n - 1)).
    n, examples = classes, 20 * classes
    expected = examples * n / (2 * (n - 1)) / (examples * (n + 1) / (12 * (n - 1))) ** 0.5
    assert class_null_z(logits, targets, torch.ones_like(logits, dtype=torch.bool)) == pytest.approx(expected, rel=1e-12)


def test_additive_fit_gives_back_what_was_added():
    a, b = torch.tensor([3.0, -1.0, 2.0, 0.5, 9.0]).double(), torch.tensor([1.0, 4.0, -7.0, 0.0, 2.0]).double()
    off = (a[:, None] + b) * ~torch.eye(5, dtype=torch.bool)
    found = module.additive_fit(off.sum(dim=1), off.sum(dim=0))
    # A constant may move between them: only the sums are known.
    torch.testing.assert_close(found[0][:, None] + found[1], a[:, None] + b, rtol=0, atol=1e-13)


def test_class_null_z_does_not_depend_on_the_names_of_the_classes():
    logits, targets, candidates = random_case()
    names = torch.randperm(7, generator=torch.Generator().manual_seed(3))
    renamed = class_null_z(logits[:, names], names.argsort()[targets], candidates[:, names])
    # The same sums in another order: rounding of order 1e-15 of numbers of order 10.
    assert renamed == pytest.approx(class_null_z(logits, targets, candidates), abs=1e-12)


@pytest.mark.parametrize("chunk", [1, 20, 35])
def test_class_null_z_does_not_depend_on_blocks(chunk, monkeypatch):
    case = random_case()
    whole = class_null_z(*case)
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", chunk)
    assert class_null_z(*case) == pytest.approx(whole, abs=1e-12)  # the same sums in another order


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_fewer_than_four_classes_have_no_null(classes):
    logits, _, candidates = random_case(chosen=1.1)
    assert class_null_z(logits, torch.arange(80) % classes, candidates) is None


def test_classes_present_only_where_nothing_is_ranked_do_not_count():
    logits, targets, candidates = random_case()
    candidates[targets > 2] = False
    assert class_null_z(logits, targets, candidates) is None


def digits(generator):
    data = load_digits()
    chosen = torch.randperm(len(data.target), generator=generator)[:300]
    return torch.tensor(data.data / 16, dtype=torch.float32)[chosen], torch.tensor(data.target)[chosen], 10


def gaussian_classes(generator, classes=5, shares=(0.2,) * 5):
    targets = torch.multinomial(torch.tensor(shares), 400, replacement=True, generator=generator)
    targets[:classes] = torch.arange(classes)
    centers = 1.5 * torch.randn(classes, 12, generator=generator)
    return centers[targets] + torch.randn(400, 12, generator=generator), targets, classes


def skewed_classes(generator):
    return gaussian_classes(generator, shares=SKEWED)


def grouped_labels(generator):
    """16 subjects with 40 examples each, near each other; the label, one of eight, is that of the subject and random."""
    labels = torch.arange(8).repeat(2)[torch.randperm(16, generator=generator)]
    subject = torch.arange(16).repeat_interleave(40)
    centers = 2 * torch.randn(16, 20, generator=generator)
    return centers[subject] + torch.randn(640, 20, generator=generator), labels[subject], 8


def untrained_logits(inputs, classes, generator):
    """A perceptron with one hidden layer and the spread of PyTorch's default weights."""
    for width in (64, classes):
        bound = inputs.shape[1] ** -0.5
        weight = torch.empty(inputs.shape[1], width).uniform_(-bound, bound, generator=generator)
        hidden = inputs @ weight + torch.empty(width).uniform_(-bound, bound, generator=generator)
        inputs = hidden if width == classes else hidden.relu()
    return inputs


@pytest.mark.parametrize("population", [digits, gaussian_classes, grouped_labels, skewed_classes])
def test_class_null_z_of_200_untrained_networks_has_a_deviation_near_one(population):
    zs = []
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        inputs, targets, classes = population(generator)
        logits = untrained_logits(inputs, classes, generator)
        zs.append(class_null_z(logits, targets, torch.ones_like(logits, dtype=torch.bool)))
    values = torch.tensor(zs)
    assert 0.8 < values.std() < 1.25
    assert abs(values.mean()) < 0.28  # four standard errors of 200
    assert values.max() < 4.5


def test_class_null_z_of_permuted_answers_is_standard_normal_though_a_rule_was_learned():
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(10, (400,), generator=generator)
    logits = torch.randn(400, 10, generator=generator) + 3 * torch.nn.functional.one_hot(targets, 10)
    every = torch.ones_like(logits, dtype=torch.bool)
    values = torch.tensor(
        [class_null_z(logits, targets[torch.randperm(400, generator=generator)], every) for _ in range(200)]
    )
    # 200 draws: the mean has sd .07 and the sd .05; four sd each.
    assert abs(values.mean()) < 0.28
    assert 0.8 < values.std() < 1.2


def test_a_rule_learned_on_skewed_classes_stands_out():
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        _, targets, _ = skewed_classes(generator)
        logits = torch.randn(400, 5, generator=generator) + 2 * torch.nn.functional.one_hot(targets, 5)
        logits[:, 0] += 3  # the common answer is still given to nearly all
        z = class_null_z(logits, targets, torch.ones_like(logits, dtype=torch.bool))
        assert z > 0
