# SPDX-License-Identifier: Apache-2.0
"""Two published precursors of grokking, measured beside ours while a run of the pool trains.

- Inter/intra class distance ratio (arXiv 2604.20923): mean squared distance between the class means of held-out penultimate
  states over the mean squared distance of the states to their own class mean.
- Residual of a Hankel dynamic mode decomposition (arXiv 2605.08237): how badly a linear map explains one window of the
  quantiles of the log-probabilities that the network gives to the right answers of fixed training examples.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

STATES = 512
"""Held-out examples of the distance ratio; the paper's own advice for its cost."""
EARLY = (1, 2, 5, 10)
"""Steps at which the ratio is measured beside every hundredth of the run, for its baseline."""
PROBES = 100
EVERY = 2
"""Optimizer steps between two records of the log-probabilities."""
WINDOW = 250
"""Records of one window, 500 steps; windows do not overlap."""
DELAYS = 32
RANK = 10
CUT = 1e-10
"""Singular values below this share of the largest are rounding."""
QUANTILES = np.linspace(0.05, 0.95, 19)
Series = dict[int, float]


class DistanceRatio:
    """Distance ratio of held-out penultimate states at about a hundred steps of a run, and some early ones.

    Args:
        network: Has a last linear layer named `readout` or `unembedding`, whose input is the penultimate state.
        inputs: Held-out inputs; the first 512 of a fixed draw are used.
        answers: Their classes.
        steps: Steps of the run.
    """

    def __init__(self, network: nn.Module, inputs: Tensor, answers: Tensor, steps: int) -> None:
        draw = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))[:STATES]
        self._network, self._inputs, self._answers = network, inputs[draw], answers[draw]
        self._every = max(1, steps // 100)
        self.values: Series = {}

    def step(self, step: int) -> None:
        """Measure, where it is due."""
        due = step % self._every == 0 or step in EARLY
        if due and (ratio := distance_ratio(self._states(), self._answers)) is not None:
            self.values[step] = ratio

    def _states(self) -> Tensor:
        seen: list[Tensor] = []
        last = next(getattr(self._network, name) for name in ("readout", "unembedding") if hasattr(self._network, name))
        hook = last.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        with torch.no_grad():
            self._network(self._inputs)
        hook.remove()
        states = seen[0]
        return states[:, -1] if states.ndim == 3 else states


def distance_ratio(states: Tensor, answers: Tensor) -> float | None:
    """Mean squared distance between class means over the mean squared distance to one's own class mean.

    Args:
        states: [example, unit].
        answers: Class of each.

    Returns:
        None with fewer than two classes of two examples or more, or without spread within them.
    """
    kept = [states[answers == c].double() for c in answers.unique() if int((answers == c).sum()) > 1]
    if len(kept) < 2:
        return None
    means = torch.stack([group.mean(0) for group in kept])
    between = torch.cdist(means, means).square().sum() / (len(means) * (len(means) - 1))
    within = torch.cat([(group - group.mean(0)).square().sum(1) for group in kept]).mean()
    ratio = float(between / within)
    return ratio if np.isfinite(ratio) else None


class HankelResidual:
    """Residual of each finished window of a run.

    Args:
        network: Gives class scores.
        inputs: Training inputs; the first 100 of a fixed draw are used.
        answers: Their classes.
    """

    def __init__(self, network: nn.Module, inputs: Tensor, answers: Tensor) -> None:
        draw = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))[:PROBES]
        self._network, self._inputs, self._answers = network, inputs[draw], answers[draw]
        self._window: list[NDArray[np.float64]] = []
        self.values: Series = {}

    def step(self, step: int) -> None:
        """Record, where it is due, and close a full window."""
        if step % EVERY:
            return
        with torch.no_grad():
            logs = torch.log_softmax(self._network(self._inputs).double(), 1)
        right = logs.gather(1, self._answers[:, None])[:, 0]
        self._window.append(np.quantile(right.numpy(), QUANTILES))
        if len(self._window) == WINDOW:
            residual = hankel_residual(np.stack(self._window))
            self._window = []
            if residual is not None:
                self.values[step] = residual


def hankel_residual(window: NDArray[np.float64]) -> float | None:
    """Share of a window that the best linear map between its successive delay vectors leaves unexplained.

    Args:
        window: [record, quantile].

    Returns:
        ``|Z' - Phi Lambda Phi^+ Z| / |Z'|`` in Frobenius norms, where Phi are the projected modes of rank 10 or less; None
        where the window is not finite or does not move.
    """
    centred = window - window.mean(0)
    if not np.isfinite(centred).all() or not np.linalg.norm(centred):
        return None
    delayed = np.lib.stride_tricks.sliding_window_view(centred, DELAYS, axis=0)  # [start, quantile, delay]
    states = delayed.reshape(len(delayed), -1).T
    now, after = states[:, :-1], states[:, 1:]
    left, sizes, right = np.linalg.svd(now, full_matrices=False)
    rank = min(RANK, int((sizes > CUT * sizes[0]).sum()))
    left, sizes, right = left[:, :rank], sizes[:rank], right[:rank]
    growth, vectors = np.linalg.eig(left.T @ after @ right.T / sizes)
    modes = left @ vectors
    explained = modes @ (growth[:, None] * (np.linalg.pinv(modes) @ now))
    return float(np.linalg.norm(after - explained) / np.linalg.norm(after))
