# SPDX-License-Identifier: Apache-2.0
"""What no program, library or warning can bring into a terminal."""

import io
import logging
import sys
import warnings

import pytest

from lightning_interp.core.console import one_line, printable
from lightning_interp.core.errors import CheckpointError, ConfigError, InterpError
from lightning_interp.core.inert_output import InertStream, inert_output

STEERING = {
    "escape": "\x1b", "bell": "\x07", "backspace": "\b", "carriage return": "\r", "delete": "\x7f", "null": "\0",
    "control sequence of one byte": "\x9b", "next line": "\x85", "line separator": "\u2028", "paragraph separator": "\u2029",
    "left to right": "\u200e", "right to left": "\u200f", "arabic letter": "\u061c", "zero width": "\u200b",
    "joiner": "\u200d", "soft hyphen": "\xad", "byte order": "\ufeff", "tag": "\U000e0041", "half a pair": "\udc9b",
    "given to nobody": "\U000e0fff", "private": "\ue000",
    **{f"direction {code:x}": chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))},
}  # fmt: skip


@pytest.mark.parametrize("char", STEERING.values(), ids=STEERING)
def test_printable_shows_by_its_name_what_would_steer(char):
    assert printable(f"a{char}b") == f"a{ascii(char)[1:-1]}b"


@pytest.mark.parametrize("text", ["ä – é × → 漢字 😀", "two\nlines", "two words", r"C:\path\x1b", ""])
def test_printable_leaves_text_alone(text):
    assert printable(text) == text


def test_one_line_shows_line_feeds_and_tabs_by_their_names():
    assert one_line("a\nb\tc") == r"a\nb\tc"


@pytest.mark.parametrize("kind", [InterpError, ConfigError, CheckpointError])
def test_an_error_s_message_is_one_inert_line(kind):
    assert str(kind("run \x1b[2J\nverdict: grokking")) == r"run \x1b[2J\nverdict: grokking"


def test_inert_stream_keeps_line_feeds_and_tabs_and_goes_back_in_no_line():
    below = io.StringIO()
    InertStream(below).writelines(["a\tb\n", "c\r\nd\re\x1b\n"])
    assert below.getvalue() == "a\tb\nc\nd\ne\\x1b\n"


def test_inert_stream_takes_half_a_pair_where_only_utf_8_goes():
    below = io.BytesIO()
    stream = InertStream(io.TextIOWrapper(below, encoding="utf-8", errors="strict", write_through=True))
    stream.write("\udc9b")
    assert below.getvalue() == rb"\udc9b"


def test_inert_stream_is_no_terminal(monkeypatch):
    below = io.StringIO()
    monkeypatch.setattr(below, "isatty", lambda: True)
    assert not InertStream(below).isatty()


def test_inert_output_makes_a_library_s_log_one_line(capsys, monkeypatch):
    logger = logging.getLogger("a library that nobody set up")
    monkeypatch.setattr(logger, "propagate", False)  # to the handlers of pytest
    with inert_output():
        try:
            raise ValueError("no\nluck")
        except ValueError:
            logger.exception("while serving %s", "/\nverdict: grokking\x1b")
    assert capsys.readouterr().err == "while serving /\\nverdict: grokking\\x1b (ValueError: no\\nluck)\n"


def test_inert_output_makes_a_warning_one_line(capsys):
    with warnings.catch_warnings(), inert_output():
        warnings.simplefilter("always")
        sys.stderr.write(warnings.formatwarning("column\nverdict: grokking\x1b", UserWarning, "a.py", 3))
    assert capsys.readouterr().err == "a.py:3: UserWarning: column\\nverdict: grokking\\x1b\n"


def test_inert_output_puts_everything_back():
    def now():
        return sys.stdout, sys.stderr, logging.lastResort, warnings.formatwarning

    before = now()
    with inert_output():
        assert not set(map(id, now())) & set(map(id, before))
    assert now() == before
