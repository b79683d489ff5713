# SPDX-License-Identifier: Apache-2.0
"""Other packages, each at its default tolerance with 100 sweeps, random start, float32 data and the threads given."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

SWEEPS = 100


@dataclass(frozen=True)
class PeerFit:
    """One fit of a peer.

    Attributes:
        rank: Its rank.
        seconds: Time of the whole fit.
        errors: Relative error after each sweep, as the package reports it; empty where it reports none.
        relative_error: Of the result, recomputed in float64.
    """

    rank: int
    seconds: float
    errors: tuple[float, ...]
    relative_error: float

    def seconds_to(self, error: float) -> float:
        """Time until a relative error was reached: the share of sweeps that took; all of it where it was not."""
        reached = next((n for n, value in enumerate(self.errors, start=1) if value <= error), len(self.errors))
        return self.seconds * (reached / len(self.errors) if self.errors else 1.0)


Peer = Callable[[Tensor, int, int], PeerFit]


def true_error(tensor: Tensor, weights: "np.ndarray | None", factors: "list[np.ndarray]") -> float:
    """‖X − X̂‖ / ‖X‖ in float64, one snapshot at a time."""
    matrices = [torch.as_tensor(np.asarray(factor)).double() for factor in factors]
    if weights is not None:
        matrices[0] = matrices[0] * torch.as_tensor(np.asarray(weights)).double()
    wrong = energy = 0.0
    for row, snapshot in zip(matrices[0], tensor.cpu(), strict=True):
        truth = snapshot.double()
        wrong += float((truth - (matrices[1] * row) @ matrices[2].T).square().sum())
        energy += float(truth.square().sum())
    return (wrong / energy) ** 0.5


def tensorly_cp(tensor: Tensor, rank: int, seed: int, *, backend: str = "numpy") -> PeerFit:
    """`tensorly.decomposition.parafac`."""
    from tensorly.decomposition import parafac

    return _tensorly(parafac, tensor, rank, seed, backend=backend)


def tensorly_hals(tensor: Tensor, rank: int, seed: int, *, backend: str = "numpy") -> PeerFit:
    """`tensorly.decomposition.non_negative_parafac_hals`."""
    from tensorly.decomposition import non_negative_parafac_hals

    return _tensorly(non_negative_parafac_hals, tensor, rank, seed, backend=backend)


def tensortools_cp(tensor: Tensor, rank: int, seed: int) -> PeerFit:
    """`tensortools.cp_als`."""
    import tensortools

    return _tensortools(tensortools.cp_als, tensor, rank, seed, init="randn")


def tensortools_hals(tensor: Tensor, rank: int, seed: int) -> PeerFit:
    """`tensortools.ncp_hals`."""
    import tensortools

    return _tensortools(tensortools.ncp_hals, tensor, rank, seed, init="rand")


def pyttb_cp(tensor: Tensor, rank: int, seed: int) -> PeerFit:
    """`pyttb.cp_als`, which keeps float64 and reports no error per sweep."""
    import pyttb

    data = pyttb.tensor(np.asfortranarray(tensor.double().numpy()))
    np.random.seed(seed)
    started = time.perf_counter()
    model, _, _ = pyttb.cp_als(data, rank, maxiters=SWEEPS, printitn=0)
    seconds = time.perf_counter() - started
    return PeerFit(rank, seconds, (), true_error(tensor, model.weights, model.factor_matrices))


def _tensorly(decompose: Callable, tensor: Tensor, rank: int, seed: int, *, backend: str) -> PeerFit:
    import tensorly

    with warnings.catch_warnings(), tensorly.backend_context(backend):
        warnings.simplefilter("ignore")
        data = tensor.numpy() if backend == "numpy" else tensor
        _wait(tensor)
        started = time.perf_counter()
        (weights, factors), errors = decompose(
            data, rank, n_iter_max=SWEEPS, init="random", random_state=seed, return_errors=True
        )
        _wait(tensor)
        seconds = time.perf_counter() - started
        arrays = [tensorly.to_numpy(factor) for factor in factors]
        error = true_error(tensor, tensorly.to_numpy(weights), arrays)
    return PeerFit(rank, seconds, tuple(float(value) for value in errors), error)


def _tensortools(decompose: Callable, tensor: Tensor, rank: int, seed: int, *, init: str) -> PeerFit:
    started = time.perf_counter()
    result = decompose(tensor.numpy(), rank=rank, max_iter=SWEEPS, random_state=seed, init=init, verbose=False)
    seconds = time.perf_counter() - started
    factors = [result.factors[mode] for mode in range(tensor.ndim)]
    return PeerFit(rank, seconds, tuple(float(value) for value in result.obj_hist), true_error(tensor, None, factors))


def _wait(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
