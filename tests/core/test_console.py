# SPDX-License-Identifier: Apache-2.0
import io
import logging

import pytest

from lightning_interp import console


class Broken(io.StringIO):
    """A pipe whose reader is gone."""

    def write(self, text):
        raise BrokenPipeError


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stderr", [closed(), Broken(), None], ids=["closed", "broken pipe", "none"])
def test_a_standard_error_that_cannot_be_written_raises_nothing(monkeypatch, capsys, stderr):
    monkeypatch.setattr("sys.stderr", stderr)
    record = logging.LogRecord("lightning_interp", logging.INFO, __file__, 1, "a line", None, None)
    console.CurrentStderr().handle(record)
    assert capsys.readouterr().out == ""
