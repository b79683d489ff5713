# SPDX-License-Identifier: Apache-2.0
"""Real Fourier analysis on Z_n: basis, power per frequency, tables pooled by label, key frequencies."""

import torch

from lightning_interp.core.errors import ShapeError
from lightning_interp.core.shapes import Float, Float64, Int, Tensor

KEY_SHARE = 0.99
"""Share of the energy above the null that the key frequencies must hold together.

Energy goes with the square of the amplitude: at 0.9 a network that grokked with three frequencies, one of them at a third of
the strongest's amplitude, lost that one and its restricted loss stood at 0.1 nats beside a full loss of 3e-6.
"""

KEY_LIMIT = 10
"""Most key frequencies."""

MISSING_SHARE = 0.1
"""Largest share of labels without any pair that a label table is still made for."""

NULL_PERMUTATIONS = 20
"""Label permutations whose largest energy is the null: about one run in twenty shows a key frequency by chance."""


def fourier_basis(order: int) -> Float64[Tensor, "row element"]:
    """Orthonormal real Fourier basis on Z_n.

    Row 0 is 1/sqrt(n); rows 2k-1 and 2k are cos and sin(2 pi k x / n), times sqrt(2/n); for even n the last row is the
    alternating (-1)^x / sqrt(n).

    Args:
        order: Number of group elements n, 2 or more.

    References:
        Nanda et al. 2023, appendix, https://arxiv.org/abs/2301.05217
    """
    freqs = row_frequencies(order)[:, None]
    element = torch.arange(order)[None, :]
    # Reducing k x modulo n first keeps the angle exact: rows are orthonormal to 1e-15 whatever n is.
    angle = 2 * torch.pi * (freqs * element).remainder(order).double() / order
    sine = (torch.arange(order) % 2 == 0)[:, None] & (freqs > 0)
    rows = torch.where(sine, angle.sin(), angle.cos())
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows / norms


def row_frequencies(order: int) -> Int[Tensor, " row"]:
    """Frequency of each row of `fourier_basis`: 0, 1, 1, 2, 2, ...; n/2 once at the end for even n."""
    return (torch.arange(order) + 1) // 2


def frequency_power(table: Float[Tensor, "element feature"]) -> Float64[Tensor, " freq"]:
    """Energy of each frequency 1 .. n // 2: sum over features of squared cosine and sine coefficients.

    Args:
        table: One row per group element in exponent order.

    Returns:
        Squared unit of the table; with the constant term the energies sum to its squared Frobenius norm.
    """
    order = table.shape[0]
    rows = (fourier_basis(order).to(table.device) @ table.double()).square().sum(dim=1)
    power = torch.zeros(order // 2 + 1, dtype=torch.float64, device=table.device)
    return power.index_add(0, row_frequencies(order).to(table.device), rows)[1:]


def label_table(
    logits: Float[Tensor, "pair class"], labels: Int[Tensor, " pair"], *, order: int
) -> Float64[Tensor, "label class"]:
    """Mean logits of all pairs that share a label: M[s, c] = mean of L[a, b, c] over a op b = s.

    A label without pairs, up to a tenth of them, gets the mean of the other rows: it adds no energy at any frequency.

    Args:
        logits: One row per pair.
        labels: Exponent of each pair's answer, in 0 .. order - 1.
        order: Number of labels.

    Raises:
        ShapeError: More labels have no pair, or one is out of range.
    """
    counts = torch.bincount(labels, minlength=order)
    missing = counts == 0
    if len(counts) != order or missing.sum() > MISSING_SHARE * order:
        raise ShapeError(
            f"label_table: `labels` must lie in 0 .. {order - 1} and nine in ten of these have a pair, got "
            f"{int((~missing).sum())} different ones up to {len(counts) - 1}."
        )
    sums = torch.zeros(order, logits.shape[1], dtype=torch.float64, device=logits.device)
    means = sums.index_add_(0, labels, logits.double()) / counts.clamp_min(1)[:, None]
    means[missing] = means[~missing].mean(dim=0)
    return means


def band_pass(table: Float[Tensor, "label class"], *, key_freqs: Int[Tensor, " freq"]) -> Float64[Tensor, "label class"]:
    """Part of a label table at the key frequencies.

    For logits over all pairs this is the projection on the circuit directions: with u_k ~ cos w_k(a + b) and
    v_k ~ sin w_k(a + b) on the pair axis, (sum_k u_k u_k^T + v_k v_k^T) L at (a, b) is row a + b of the band-passed
    label table, so one pass of pooling replaces the 2-D transform. The same holds for subtraction and, over
    logarithms, for multiplication.

    Args:
        table: One row per label in exponent order.
        key_freqs: Frequencies to keep, each in 1 .. order // 2; may be empty.

    Raises:
        ShapeError: A frequency is out of range.
    """
    order = table.shape[0]
    check_freqs(key_freqs, order, caller="band_pass")
    rows = fourier_basis(order)[torch.isin(row_frequencies(order), key_freqs.cpu())].to(table.device)
    return rows.T @ (rows @ table.double())


def check_freqs(key_freqs: Int[Tensor, " freq"], order: int, *, caller: str) -> None:
    """Raise `ShapeError` unless all frequencies lie in 1 .. order // 2."""
    if ((key_freqs < 1) | (key_freqs > order // 2)).any():
        raise ShapeError(f"{caller}: `key_freqs` must lie in 1 .. {order // 2}, got {key_freqs.tolist()}.")


def null_threshold(
    logits: Float[Tensor, "pair class"], labels: Int[Tensor, " pair"], *, order: int, seed: int = 0
) -> Float64[Tensor, ""]:
    """Largest energy of any frequency when labels are permuted among the pairs.

    Args:
        logits: One row per pair.
        labels: Exponent of each pair's answer.
        order: Number of labels.
        seed: Seed of the generator used; the global random streams are not touched.
    """
    generator = torch.Generator().manual_seed(seed)
    wide = logits.double()
    highest = torch.zeros((), dtype=torch.float64, device=logits.device)
    for _ in range(NULL_PERMUTATIONS):
        shuffled = labels[torch.randperm(len(labels), generator=generator).to(labels.device)]
        power = frequency_power(label_table(wide, shuffled, order=order))
        highest = torch.maximum(highest, power.max())
    return highest


def select_key_freqs(
    logits: Float[Tensor, "pair class"], labels: Int[Tensor, " pair"], *, order: int, seed: int = 0
) -> Int[Tensor, " freq"]:
    """Key frequencies of this snapshot: the fewest that hold 99 % of the label table's energy above the null.

    Energies are those of the label table minus its per-class mean; the null is `null_threshold`. What all classes of a
    pair share is removed first: no softmax sees it, weight decay alone bounds it, and it drowns the rest. Give held-out
    pairs only: training pairs put the stored answers into the table.

    Args:
        logits: One row per pair, held out.
        labels: Exponent of each pair's answer.
        order: Number of labels.
        seed: Seed of the null.

    Returns:
        Up to `KEY_LIMIT` frequencies, strongest first; empty where none rises above the null.

    Raises:
        ShapeError: More than a tenth of the labels have no pair.
    """
    wide = logits.double()
    relative = wide - wide.mean(dim=1, keepdim=True)
    power = frequency_power(label_table(relative, labels, order=order))
    excess = (power - null_threshold(relative, labels, order=order, seed=seed)).clamp_min(0)
    ordered = excess.sort(descending=True, stable=True)
    held = ordered.values.cumsum(0)
    needed = int((held < KEY_SHARE * held[-1]).sum()) + 1
    count = min(needed, KEY_LIMIT, int((ordered.values > 0).sum()))
    return ordered.indices[:count] + 1
