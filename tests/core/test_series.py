# SPDX-License-Identifier: Apache-2.0
from lightning_interp.core.series import add_values, layer_series, series_of

ROWS = [(0, {"a": 1.0, "b": 2.0}), (5, {}), (9, {"b": 3.0})]


def test_series_of_leaves_out_steps_without_a_value():
    assert series_of(ROWS) == {"a": ([0], [1.0]), "b": ([0, 9], [2.0, 3.0])}


def test_add_values_goes_on_with_known_series():
    series = series_of(ROWS[:1])
    for step, values in ROWS[1:]:
        add_values(series, step, values)
    assert series == series_of(ROWS)


def test_layer_series_leaves_out_what_does_not_apply_and_keeps_zeros():
    rows = [(0, (0.0, None)), (5, (1.0, None))]
    assert layer_series(rows, ("act", "w")) == {"act": ([0, 5], [0.0, 1.0])}
