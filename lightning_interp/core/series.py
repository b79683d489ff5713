# SPDX-License-Identifier: Apache-2.0
"""Series by name, gathered from what is found one step at a time."""

from collections.abc import Iterable, Mapping, Sequence

Series = Mapping[str, tuple[list[int], list[float]]]
"""By name: optimizer steps, strictly increasing, and the value at each."""
GrowingSeries = dict[str, tuple[list[int], list[float]]]


def add_values(series: GrowingSeries, step: int, values: Mapping[str, float]) -> None:
    """Append the values of one step, in place."""
    for name, value in values.items():
        steps, known = series.setdefault(name, ([], []))
        steps.append(step)
        known.append(value)


def series_of(rows: Iterable[tuple[int, Mapping[str, float]]]) -> GrowingSeries:
    """Steps and values of every name, from rows of a step and its values by name, ascending in step.

    >>> series_of([(0, {"train_loss": 2.0}), (5, {"train_loss": 1.0, "weight_norm": 9.0})])
    {'train_loss': ([0, 5], [2.0, 1.0]), 'weight_norm': ([5], [9.0])}
    """
    found: GrowingSeries = {}
    for step, values in rows:
        add_values(found, step, values)
    return found


def layer_series(rows: Iterable[tuple[int, Sequence[float | None]]], layers: Sequence[str]) -> GrowingSeries:
    """Steps and values of one measure by layer, from rows of a step and a value for each layer, None if it has none.

    >>> layer_series([(0, (0.5, None)), (5, (0.25, 1.0))], ("mlp", "head"))
    {'mlp': ([0, 5], [0.5, 0.25]), 'head': ([5], [1.0])}
    """
    named = ((step, zip(layers, values, strict=False)) for step, values in rows)
    return series_of((step, {layer: value for layer, value in row if value is not None}) for step, row in named)
