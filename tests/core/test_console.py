# SPDX-License-Identifier: Apache-2.0
import io
import logging

import pytest

from lightning_interp.core import console


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


@pytest.mark.parametrize(("speak", "begins"), [(console.say, ""), (console.warn, "warning: ")])
def test_a_name_makes_no_line_of_its_own(caplog, monkeypatch, speak, begins):
    monkeypatch.setattr(console.logger, "propagate", True)
    caplog.set_level(logging.INFO, logger=console.logger.name)
    speak("layer a\nverdict: grokking\x1b[2J")
    assert caplog.messages == [rf"{begins}layer a\nverdict: grokking\x1b[2J"]
