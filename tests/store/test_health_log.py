# SPDX-License-Identifier: Apache-2.0
"""The health log: one form of line, written when the writer says so, and what readers ask of it."""

import time

import pytest

from lightning_interp.store import health_log
from lightning_interp.store.health_log import HealthLog, append_resumed, events, read_health, times, valid_events
from lightning_interp.store.layout import HEALTH

TAKEN = [{"event": "snapshot", "attempt": 0, "step": step, "time": float(step)} for step in (0, 10, 20)]


def test_a_line_has_event_attempt_time_and_fields_in_this_order(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1.23456)
    log = HealthLog(tmp_path, 2)
    log.note("dropped", step=7, reason="why")
    log.write()
    append_resumed(tmp_path, 3, step=5)
    assert (tmp_path / HEALTH).read_bytes() == (
        b'{"event":"dropped","attempt":2,"time":1.235,"step":7,"reason":"why"}\n'
        b'{"event":"resumed","attempt":3,"resumed_at":5}\n'
    )


def test_noting_touches_no_file(tmp_path):
    log = HealthLog(tmp_path, 0)
    log.note("closed", status="finished")
    assert len(log) == 1 and not (tmp_path / HEALTH).exists()


def test_a_line_that_cannot_be_written_is_kept_for_the_next_time(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("full")

    log = HealthLog(tmp_path, 0)
    log.note("analyzer", text="one")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="full"):
        patch.setattr(health_log, "append_line", refuse)
        log.write()
    log.note("analyzer", text="two")
    log.write()
    assert [row["text"] for row in read_health(tmp_path)[0]] == ["one", "two"] and not log


def test_read_health_goes_on_where_it_was(tmp_path):
    append_resumed(tmp_path, 1, step=5)
    rows, offset = read_health(tmp_path)
    append_resumed(tmp_path, 2, step=6)
    assert [row["attempt"] for row in rows + read_health(tmp_path, offset)[0]] == [1, 2]


def test_valid_events_are_those_that_no_later_start_took_back():
    again = {"event": "snapshot", "attempt": 1, "step": 20, "again": True}
    other = [{"event": "overhead", "attempt": 0, "step": 0}, {"event": "snapshot"}]
    assert list(valid_events([*TAKEN, *other], "snapshot", {1: 10})) == [0, 10]
    assert valid_events([*TAKEN, again], "snapshot", {1: 10})[20] is again


def test_events_keep_the_order_of_the_file_and_times_skip_lines_without():
    rows = [{"event": "analyzer_failed"}, *TAKEN, {"event": "analyzer"}]
    assert events(rows, "analyzer", "analyzer_failed") == [rows[0], rows[-1]]
    assert times(rows) == [0.0, 10.0, 20.0]
