# SPDX-License-Identifier: Apache-2.0
"""Whether a module's weights are still those that an optimizer step left: a few numbers of each parameter tell."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

NUMBERS = 4
"""Most numbers that are kept of a parameter."""
PARAMETERS = 64
"""Most parameters that are looked at: a step may cost no more where there are hundreds.

They are drawn: at even distances they would be the same part of every layer, and adapters are merged into some parts alone.
"""


class WeightMarks:
    """A few numbers of many parameters as they were at one step.

    Neither versions nor addresses would tell that weights were put in the place of others: averages are copied in through
    ``.data``, which counts no version.
    """

    def __init__(self) -> None:
        self.step = -1
        self._parameters: list[nn.Parameter] = []
        self._addresses: list[int] = []
        self._views: list[list[Tensor]] = []
        self._marks: list[Tensor] = []

    def make(self, module: nn.Module, *, step: int) -> None:
        """Remember the weights of a step. Reads no value and waits for no device; microseconds for a small network."""
        if not self._parameters or [each.data_ptr() for each in self._parameters] != self._addresses:
            self._parameters = _drawn(module)
            self._addresses = [each.data_ptr() for each in self._parameters]
            self._views = list(_views(self._parameters))
        self.step, self._marks = step, [torch.cat(views) for views in self._views]

    def fit(self, module: nn.Module, *, step: int) -> bool:
        """Whether the weights are, bit for bit, what they were at a step, as far as it was marked; waits for the device."""
        if self.step != step:
            return True
        now = [torch.cat(views) for views in _views(_drawn(module))]
        return len(now) == len(self._marks) and all(map(_is_same, self._marks, now))


def _drawn(module: nn.Module) -> list[nn.Parameter]:
    parameters = [each for each in module.parameters() if each.numel()]
    drawn = torch.randperm(len(parameters), generator=torch.Generator().manual_seed(0))[:PARAMETERS]
    return [parameters[place] for place in sorted(drawn.tolist())]


def _views(parameters: list[nn.Parameter]) -> Iterator[list[Tensor]]:
    """Some numbers of each parameter, as views of its memory, by device and kind."""
    kinds = list(dict.fromkeys((each.device, each.dtype) for each in parameters))
    for kind in kinds:
        some = [_some(each.detach()) for each in parameters if (each.device, each.dtype) == kind and each.numel()]
        if some:
            yield some


def _some(tensor: Tensor) -> Tensor:
    line = tensor.view(-1) if tensor.is_contiguous() else tensor[(0,) * (tensor.ndim - 1)]
    return line[:: -(-len(line) // NUMBERS)]


def _is_same(before: Tensor, now: Tensor) -> bool:
    """Bit for bit, so that NaN is what it was."""
    return before.dtype == now.dtype and torch.equal(before.view(torch.uint8), now.to(before.device).view(torch.uint8))
