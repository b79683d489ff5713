# SPDX-License-Identifier: Apache-2.0
"""A failure of the monitor is one warning and its end, under `strict` the training's; Ctrl-C is neither."""

import logging

import pytest

from lightning_interp.core.errors import ConfigError
from lightning_interp.monitor.failure_shield import shielded


def fail(error, given_up, **options):
    with shielded("failed in step", give_up=lambda: given_up.append(True) or "it", **{"strict": False, **options}):
        raise error


def test_a_failure_is_one_warning_and_the_end_of_the_monitor(caplog):
    given_up = []
    with caplog.at_level(logging.WARNING, "lightning_interp"):
        fail(ValueError("why"), given_up)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith("the monitor failed in step (ValueError: why). Training goes on without it.")
    assert given_up == [True]


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (ValueError("why"), {"strict": True}),
        (ConfigError("why"), {"spares": (ConfigError,)}),
        (KeyboardInterrupt(), {}),
    ],
    ids=["strict", "spared", "ctrl-c"],
)
def test_what_is_passed_on_is_the_very_error_and_nothing_is_given_up(error, options):
    given_up = []
    with pytest.raises(type(error)) as raised:
        fail(error, given_up, **options)
    assert raised.value is error and not given_up
