# SPDX-License-Identifier: Apache-2.0
import os
import time

from lightning_interp.analysis.worker.heartbeat import Pulse
from lightning_interp.store.heartbeat import read_heartbeat
from lightning_interp.store.layout import HEARTBEAT


def test_a_pulse_gives_signs_of_life_until_it_is_closed(tmp_path):
    pulse = Pulse(tmp_path, "a", every_s=0.01)
    deadline = time.monotonic() + 60
    while (first := read_heartbeat(tmp_path)) is None:
        assert time.monotonic() < deadline
    while (later := read_heartbeat(tmp_path)).at == first.at:
        assert time.monotonic() < deadline
    pulse.close()
    assert (later.pid, later.start_id) == (os.getpid(), "a")
    last = read_heartbeat(tmp_path)
    time.sleep(0.05)
    assert read_heartbeat(tmp_path) == last


def test_read_heartbeat_finds_none_where_the_file_is_damaged(tmp_path):
    (tmp_path / HEARTBEAT).write_text('{"pid": 1}')
    assert read_heartbeat(tmp_path) is None


def test_a_pulse_outlives_a_directory_that_cannot_be_written(tmp_path):
    pulse = Pulse(tmp_path / "gone", "a", every_s=0.01)
    time.sleep(0.05)
    assert pulse._thread.is_alive()
    pulse.close()
