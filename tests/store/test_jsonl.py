# SPDX-License-Identifier: Apache-2.0
import pytest

from lightning_interp.core.system_trouble import is_full
from lightning_interp.store.jsonl import append_line, cut_torn_tail, read_lines


def test_read_lines_in_parts_gives_every_line_once(tmp_path):
    path = tmp_path / "lines"
    path.write_text("".join(f'{{"k": {k}}}\n' for k in range(50)) + '{"k": 5')
    for most in (0, 1, 8, 9, 10, 100, 10_000):
        found, offset = [], 0
        while (part := read_lines(path, offset, most=most))[0]:
            found, offset = found + part[0], part[1]
        assert [row["k"] for row in found] == list(range(50))


def test_append_line_round_trips_rows(tmp_path):
    rows = [{"step": 1, "text": "line\nbreak \r and \u2028 ümlaut"}, {"values": {"a": 1e-300}}]
    for row in rows:
        append_line(tmp_path / "log", row)
    assert read_lines(tmp_path / "log")[0] == rows


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_append_line_refuses_values_json_has_no_token_for(tmp_path, value):
    with pytest.raises(ValueError, match="Out of range float values"):
        append_line(tmp_path / "log", {"x": value})
    assert not (tmp_path / "log").exists()


def test_read_lines_of_a_missing_file_are_none(tmp_path):
    assert read_lines(tmp_path / "log") == ([], 0)


def test_read_lines_ignores_a_torn_tail(tmp_path):
    (tmp_path / "log").write_text('{"a":1}\n{"a":2')
    assert read_lines(tmp_path / "log") == ([{"a": 1}], 8)


def test_read_lines_goes_on_from_a_byte_offset(tmp_path):
    append_line(tmp_path / "log", {"a": 1})
    first, offset = read_lines(tmp_path / "log")
    append_line(tmp_path / "log", {"a": 2})
    second, _ = read_lines(tmp_path / "log", offset)
    assert (first, second) == ([{"a": 1}], [{"a": 2}])


def test_read_lines_reads_a_torn_line_once_it_is_whole(tmp_path):
    path = tmp_path / "log"
    path.write_text('{"a":1}\n{"a"')
    _, offset = read_lines(path)
    with path.open("a") as handle:
        handle.write(":2}\n")
    assert read_lines(path, offset)[0] == [{"a": 2}]


def test_cut_torn_tail_removes_the_unfinished_line_only(tmp_path):
    path = tmp_path / "log"
    path.write_text('{"a":1}\n{"a":2')
    assert cut_torn_tail(path) == 6
    assert path.read_text() == '{"a":1}\n'


@pytest.mark.parametrize("text", ["", '{"a":1}\n'])
def test_cut_torn_tail_leaves_whole_files_alone(tmp_path, text):
    (tmp_path / "log").write_text(text)
    assert cut_torn_tail(tmp_path / "log") == 0
    assert (tmp_path / "log").read_text() == text


def test_cut_torn_tail_of_a_missing_file_does_nothing(tmp_path):
    assert cut_torn_tail(tmp_path / "log") == 0


def test_append_line_takes_back_the_part_a_full_disk_took(tmp_path, monkeypatch):
    import os

    path = tmp_path / "log"
    append_line(path, {"a": 1})
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    with pytest.raises(OSError, match="only 3 of 8 bytes could be written; the disk is full") as refused:
        append_line(path, {"a": 2})
    assert is_full(refused.value)
    monkeypatch.undo()
    append_line(path, {"a": 3})
    assert read_lines(path)[0] == [{"a": 1}, {"a": 3}]
