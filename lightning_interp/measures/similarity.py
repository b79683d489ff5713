# SPDX-License-Identifier: Apache-2.0
"""How alike two sets of activations on the same stimuli are: linear CKA and the orthogonal Procrustes distance."""

import torch

from lightning_interp.core.errors import ShapeError
from lightning_interp.core.shapes import Float, Float64, Tensor
from lightning_interp.measures.spectra import centered

FEWEST_DEBIASED, FEWEST = 4, 2
"""Stimuli needed: the unbiased estimator divides by n - 3; two are the least that can differ."""

NOTHING_LEFT = 1e-12
"""Share of its biased value up to which an unbiased estimate counts as zero: rounding of sums is some 1e-15 of it."""


def linear_cka(
    x: Float[Tensor, "stimulus unit"], y: Float[Tensor, "other_stimulus other_unit"], *, debiased: bool = True
) -> Float64[Tensor, ""]:
    """Linear centered kernel alignment of two sets of activations, from debiased estimates of HSIC.

    Row i of `x` and of `y` is the same stimulus; units need not correspond, and there may be different numbers of them. The
    value does not change under rotation, reflection, shift and scale of either side. The plain estimate (`debiased=False`)
    goes to 1 with the number of units over stimuli whatever the activations are; the debiased one is 0 on average for
    unrelated activations. Computed in float64.

    Args:
        x: Activations, one row per stimulus.
        y: The same stimuli in another network, layer or step.
        debiased: Whether to use the unbiased estimator of HSIC, which needs 4 stimuli, in place of the plain one.

    Returns:
        1 for the same up to rotation, shift and scale; from 0 (plain) or -1 (debiased, where values a little under 0 are
        estimates of 0).

    Raises:
        ShapeError: Numbers of stimuli differ or are too few, entries are not finite, or a side has no similarities between
            stimuli to compare: all are alike, or, debiased, all but one.

    References:
        Kornblith et al. 2019, https://arxiv.org/abs/1905.00414; estimator HSIC_1: Song et al. 2012,
        https://jmlr.org/papers/v13/song12a.html, for CKA Nguyen et al. 2021, https://arxiv.org/abs/2010.15327
    """
    _check(x, y, caller="linear_cka", fewest=FEWEST_DEBIASED if debiased else FEWEST)
    first, second = _scaled(x, "x", "linear_cka"), _scaled(y, "y", "linear_cka")
    own = [_hsic(side, side, debiased=debiased) for side in (first, second)]
    for name, side, value in zip("xy", (first, second), own, strict=True):
        if not value > NOTHING_LEFT * _cross(side, side):
            raise ShapeError(
                f"linear_cka: all stimuli of `{name}` but one are alike, which leaves nothing to compare without bias. "
                "Use more stimuli, or `debiased=False`."
            )
    value = _hsic(first, second, debiased=debiased) / (own[0] * own[1]).sqrt()
    return value.clamp(-1, 1)


def procrustes_distance(
    x: Float[Tensor, "stimulus unit"], y: Float[Tensor, "other_stimulus other_unit"]
) -> Float64[Tensor, ""]:
    """Orthogonal Procrustes distance 1 - ||X^T Y||_* of centered activations of Frobenius norm 1.

    Half of the squared distance ||X||^2 + ||Y||^2 - 2 ||X^T Y||_* of Ding et al., which leaves it in [0, 1]. The side with
    fewer units is filled up with units of zero, which the nuclear norm does without being told. With fewer stimuli than
    units a rotation can match a good part of anything: compare with the same stimuli in another order. Computed in float64.

    Args:
        x: Activations, one row per stimulus.
        y: The same stimuli in another network, layer or step.

    Returns:
        0 for the same up to rotation, reflection, shift and scale, 1 where no direction of one varies with any of the other.

    Raises:
        ShapeError: Numbers of stimuli differ or are under 2, entries are not finite, or all stimuli of a side are alike.

    References:
        Ding et al. 2021, section 2, https://arxiv.org/abs/2108.01661
    """
    _check(x, y, caller="procrustes_distance", fewest=FEWEST)
    first, second = _scaled(x, "x", "procrustes_distance"), _scaled(y, "y", "procrustes_distance")
    nuclear: Tensor = torch.linalg.svdvals(_narrow(first).T @ _narrow(second)).sum()
    return (1 - nuclear).clamp(0, 1)


def _check(x: Tensor, y: Tensor, *, caller: str, fewest: int) -> None:
    for name, side in (("x", x), ("y", y)):
        if side.ndim != 2 or not side.shape[1]:
            raise ShapeError(f"{caller}: `{name}` needs the axes (stimulus, unit), got shape {tuple(side.shape)}.")
    if len(x) != len(y):
        raise ShapeError(f"{caller}: {len(x)} stimuli in `x`, {len(y)} in `y`. Row i must be the same stimulus in both.")
    if len(x) < fewest:
        raise ShapeError(f"{caller}: needs {fewest} or more stimuli, got {len(x)}.")


def _scaled(side: Tensor, name: str, caller: str) -> Float64[Tensor, "stimulus unit"]:
    """Centered, at Frobenius norm 1."""
    if not side.isfinite().all():
        raise ShapeError(f"{caller}: some entries of `{name}` are not finite.")
    rest: Tensor = centered(side)
    norm: Tensor = torch.linalg.vector_norm(rest)
    if norm == 0:
        raise ShapeError(f"{caller}: all stimuli of `{name}` give the same activations, so there is nothing to compare.")
    return rest / norm


def _hsic(x: Tensor, y: Tensor, *, debiased: bool) -> Tensor:
    """HSIC of linear kernels without the factor that a ratio loses: (n - 1)^-2, or 1 / (n (n - 3)) where debiased.

    Song et al. 2012, equation 5: tr(K~ L~) + 1'K~1 1'L~1 / ((n - 1)(n - 2)) - 2 / (n - 2) 1'K~L~1, where K~ and L~ have no
    diagonal. Of centered activations K 1 = 0, so that K~ 1 = -diag K, and the kernels are needed for the first term alone.
    """
    if not debiased:
        return _cross(x, y)
    n = len(x)
    k, l = x.square().sum(dim=1), y.square().sum(dim=1)  # noqa: E741 - as in the equation
    return _cross(x, y) - n / (n - 2) * (k @ l) + k.sum() * l.sum() / ((n - 1) * (n - 2))


def _cross(x: Tensor, y: Tensor) -> Tensor:
    """||X^T Y||_F^2 = tr(K L), from features or from Gram matrices, whichever takes fewer operations."""
    stimuli, units, others = len(x), x.shape[1], y.shape[1]
    if units * others <= stimuli * (units + others):
        features: Tensor = (x.T @ y).square().sum()
        return features
    gram: Tensor = ((x @ x.T) * (y @ y.T)).sum()
    return gram


def _narrow(side: Tensor) -> Tensor:
    """The same up to a rotation of the units, with no more units than stimuli."""
    if side.shape[1] <= len(side):
        return side
    triangle: Tensor = torch.linalg.qr(side.T, mode="r").R
    return triangle.T
