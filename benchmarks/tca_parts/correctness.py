# SPDX-License-Identifier: Apache-2.0
"""Planted factors recovered, and agreement with tensorly from the same start."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from tca_parts.peers import true_error
from tca_parts.tensors import with_noise
from torch import Tensor

from lightning_interp.tca import CPFit, fit_cp, match_components
from lightning_interp.tca.cp import arranged
from lightning_interp.tca.ensemble import Request
from lightning_interp.tca.fitting import fit_data
from lightning_interp.tca.models import Models
from lightning_interp.tca.source import Data

PROBLEMS, NOISE, SHAPE = 20, 0.1, (60, 80, 100)


def planted_problem(seed: int, *, nonnegative: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A random problem: 2 to 7 components, dense or sparse, in every second one with columns of cosine 0.9 in one mode."""
    draw = torch.Generator().manual_seed(1000 + seed)
    rank = 2 + seed % 6
    kind = torch.rand if nonnegative else torch.randn
    factors = [kind(size, rank, generator=draw, dtype=torch.float64) for size in SHAPE]
    if seed % 3 == 0:
        factors = [factor * (torch.rand(factor.shape, generator=draw) < 0.4) for factor in factors]
    if seed % 2 == 0:
        factors[seed % 3] = collinear(factors[seed % 3], 0.9)
    factors = [factor / factor.norm(dim=0) for factor in factors]
    weights = 1 + torch.rand(rank, generator=draw, dtype=torch.float64)
    signal = torch.einsum("r,ir,jr,kr->ijk", weights, *factors)
    noisy = with_noise(signal, NOISE, draw)
    return (noisy.clamp_min(0) if nonnegative else noisy).float(), tuple(factors)


def collinear(factor: Tensor, cosine: float) -> Tensor:
    """Columns mixed with a common direction so that independent ones get this cosine."""
    unit = factor / factor.norm(dim=0)
    common = unit.mean(dim=1, keepdim=True)
    common = common / common.norm()
    apart = unit - common * (common.T @ unit)
    apart = apart / apart.norm(dim=0)
    mixed = cosine**0.5 * common + (1 - cosine) ** 0.5 * apart
    return mixed.clamp_min(0) if bool((factor >= 0).all()) else mixed


def recovery(*, nonnegative: bool, device: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Lowest congruence of any planted component with the one found for it, problem by problem."""
    lowest = []
    for seed in range(PROBLEMS):
        tensor, factors = planted_problem(seed, nonnegative=nonnegative)
        rank = factors[0].shape[1]
        fit = fit_cp(tensor, rank, nonnegative=nonnegative, device=device).to("cpu")
        truth = arranged(torch.ones(rank, dtype=torch.float64), factors, relative_error=0, converged=True, n_iter=0)
        lowest.append(min(abs(value) for value in match_components(truth, fit).congruence))
    kind = "non-negative CP" if nonnegative else "CP"
    good = sum(value > 0.99 for value in lowest)
    summary = f"{good} of {PROBLEMS} problems at {NOISE:.0%} noise with every congruence over .99"
    say(f"  {kind}: {summary} (lowest {min(lowest):.4f})")
    return {"congruence": lowest}


def agreement(*, nonnegative: bool, say: Callable[[str], None]) -> dict[str, float]:
    """Relative error from the same start as tensorly, both run on until it no longer moves."""
    import tensorly
    from tensorly.cp_tensor import CPTensor
    from tensorly.decomposition import non_negative_parafac_hals, parafac

    tensor, factors = planted_problem(3, nonnegative=nonnegative)
    tensor, rank = tensor.double(), factors[0].shape[1]
    draw = torch.Generator().manual_seed(0)
    start = [torch.rand(size, rank, generator=draw, dtype=torch.float64) for size in SHAPE]
    init = CPTensor((torch.ones(rank, dtype=torch.float64).numpy(), [f.numpy().copy() for f in start]))
    decompose = non_negative_parafac_hals if nonnegative else parafac
    with warnings.catch_warnings(), tensorly.backend_context("numpy"):
        warnings.simplefilter("ignore")
        weights, found = decompose(tensor.numpy(), rank, n_iter_max=3000, init=init, tol=1e-13)
    theirs = true_error(tensor, weights, list(found))
    mine = from_start(tensor, start, nonnegative=nonnegative)
    kind = "non-negative CP" if nonnegative else "CP"
    difference = abs(mine.relative_error - theirs)
    say(f"  {kind}: from one start {mine.relative_error:.8f}, tensorly {theirs:.8f}: {difference:.1e} apart")
    return {"ours": mine.relative_error, "tensorly": theirs}


def from_start(tensor: Tensor, start: list[Tensor], *, nonnegative: bool) -> CPFit:
    """Our fit from given factors."""
    rank = start[0].shape[1]
    models = Models(tuple(factor.T[None].clone() for factor in start), torch.tensor([rank]), torch.tensor([0]))
    request = Request((rank,), 1, nonnegative, 0, 1e-10, 5000)
    return fit_data(Data(tensor, device="cpu", nonnegative=nonnegative), request, starts=models).fits[rank]
