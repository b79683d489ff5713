# SPDX-License-Identifier: Apache-2.0
"""Changes of files of any kind: of their bytes, of rows and columns of a table, of fields of JSON.

Each change is one function that takes the content and a random generator; its name says what it does.
"""

import json
import random
from collections.abc import Callable
from typing import Any

Change = Callable[[bytes, random.Random], bytes]

ODD = (
    *(
        "nan",
        "NaN",
        "inf",
        "-inf",
        "1e999",
        "-1e999",
        "1e-320",
        "1.7976931348623157e308",
        "-0",
        "-1",
        "2**63",
        "NULL",
        "None",
    ),
    *(str(2**63), str(2**63 - 1), str(-(2**63)), str(10**30), "9" * 400, "0x10", "1_000", "1,5", "1.234,5", "0.0.0", "100%"),
    *(
        "",
        " ",
        "true",
        "[]",
        "{}",
        '"',
        "'",
        "\\",
        "\0",
        "\x1b[2J",
        "é",
        "🙂",
        "\ufeff",
        "tensor(1.)",
        "step",
        "../x",
        "x" * 5000,
    ),
)
"""What a cell, a name or a line may hold."""
DEEP = 3000
"""Nested lists that are deeper than Python calls itself."""
ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp037")


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 1, 4, 16))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def remove_bytes(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.choice((1, 2, 7, 100)) :]


def repeat_bytes(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[max(0, at - rng.choice((1, 3, 60, 1000))) : at] * rng.choice((1, 1, 50)) + data[at:]


def insert_odd(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(ODD).encode() + data[at:]


def zero_bytes(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    gone = data[at : at + rng.choice((1, 4, 64, 512))]
    return data[:at] + bytes(len(gone)) + data[at + len(gone) :]


BYTES: tuple[Change, ...] = (flip_bits, cut, remove_bytes, repeat_bytes, insert_odd, zero_bytes)


def _table(data: bytes) -> tuple[list[list[str]], str]:
    lines = data.decode(errors="replace").split("\n")
    separator = next((each for each in ",;\t " if each in lines[0]), ",")
    return [line.split(separator) for line in lines], separator


def _joined(rows: list[list[str]], separator: str) -> bytes:
    return "\n".join(separator.join(cells) for cells in rows).encode()


def double_row(data: bytes, rng: random.Random) -> bytes:
    rows, separator = _table(data)
    rows.insert(rng.randrange(len(rows) + 1), rng.choice(rows))
    return _joined(rows, separator)


def move_row(data: bytes, rng: random.Random) -> bytes:
    rows, separator = _table(data)
    rows.insert(rng.randrange(len(rows)), rows.pop(rng.randrange(len(rows))))
    return _joined(rows, separator)


def repeat_rows(data: bytes, rng: random.Random) -> bytes:
    rows, separator = _table(data)
    at = rng.randrange(len(rows))
    rows[at:at] = rows[: rng.randrange(len(rows))]
    return _joined(rows, separator)


def reverse_rows(data: bytes, rng: random.Random) -> bytes:
    rows, separator = _table(data)
    return _joined([rows[0], *(row for row in rows[:0:-1] if row != [""])], separator)


def keep_few_rows(data: bytes, rng: random.Random) -> bytes:
    rows, separator = _table(data)
    return _joined(rows[: rng.choice((1, 2, 3, 5))], separator)


def shuffle_cells(data: bytes, rng: random.Random) -> bytes:
    rows, separator = _table(data)
    rng.shuffle(rng.choice(rows))
    return _joined(rows, separator)


def odd_cell(data: bytes, rng: random.Random) -> bytes:
    rows, separator = _table(data)
    for _ in range(rng.choice((1, 1, 5))):
        cells = rng.choice(rows)
        cells[rng.randrange(len(cells))] = rng.choice(ODD)
    return _joined(rows, separator)


def odd_column(data: bytes, rng: random.Random) -> bytes:
    rows, separator = _table(data)
    at, share, odd = rng.randrange(len(rows[0])), rng.choice((0.3, 1.0)), rng.choice(ODD)
    for cells in rows[1:]:
        if at < len(cells) > 1 and rng.random() < share:
            cells[at] = odd
    return _joined(rows, separator)


def scale_column(data: bytes, rng: random.Random) -> bytes:
    rows, separator = _table(data)
    at, factor = rng.randrange(len(rows[0])), rng.choice((-1.0, 0.0, 100.0, 0.5, 1e-300, 1e300, 1e17))
    for cells in rows:
        try:
            cells[at] = repr(float(cells[at]) * factor)
        except (ValueError, IndexError):
            continue
    return _joined(rows, separator)


def swap_columns(data: bytes, rng: random.Random) -> bytes:
    rows, separator = _table(data)
    one, two = (rng.randrange(len(rows[0])) for _ in "ab")
    for cells in rows[rng.randrange(2) :]:
        if max(one, two) < len(cells):
            cells[one], cells[two] = cells[two], cells[one]
    return _joined(rows, separator)


def drop_column(data: bytes, rng: random.Random) -> bytes:
    rows, separator = _table(data)
    at = rng.randrange(len(rows[0]))
    return _joined([[*cells[:at], *cells[at + 1 :]] for cells in rows], separator)


def double_column(data: bytes, rng: random.Random) -> bytes:
    rows, separator = _table(data)
    at = rng.randrange(len(rows[0]))
    return _joined([[*cells, *cells[at : at + 1]] for cells in rows], separator)


def rename_column(data: bytes, rng: random.Random) -> bytes:
    rows, separator = _table(data)
    names = ("train_loss", "val_loss", "loss", "epoch", "_step", "val_acc", "val_loss/dataloader_idx_1", "run", *ODD)
    rows[0][rng.randrange(len(rows[0]))] = rng.choice(names)
    return _joined(rows, separator)


def other_encoding(data: bytes, rng: random.Random) -> bytes:
    return data.decode(errors="replace").encode(rng.choice(ENCODINGS), errors="replace")


def other_line_ends(data: bytes, rng: random.Random) -> bytes:
    return data.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n", b"\0\n", "\u2028".encode())))


def other_separator(data: bytes, rng: random.Random) -> bytes:
    rows, _ = _table(data)
    return _joined(rows, rng.choice((",", ";", "\t", " ", "|", ", ", "\0")))


ROWS: tuple[Change, ...] = (
    *(double_row, move_row, repeat_rows, reverse_rows, keep_few_rows, shuffle_cells, odd_cell, odd_column, scale_column),
    *(swap_columns, drop_column, double_column, rename_column, other_encoding, other_line_ends, other_separator),
)

_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, "", "x", "1.5", [], {}, [1, 2], [[[]]], {"a": {"b": 1}}, "x" * 5000, "\0", "\ud800"),
    *(2**31, 2**63, -(2**63), 10**30, 10**400, 1e308, 1e-320, -0.0, float("nan"), float("inf"), "../../x", "/dev/zero"),
)


def _places(value: Any, keys: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every value in nested JSON is."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [keys] * bool(keys) + [place for key, each in items for place in _places(each, (*keys, key))]


def _edit(data: bytes, rng: random.Random, change: Callable[[Any, Any], Any]) -> bytes:
    """Apply a change to one place in a JSON document, or in one of its lines; `change` is told holder and key."""
    whole, before, after = data, b"", b""
    try:
        content = json.loads(whole)
    except (ValueError, RecursionError):
        lines = data.splitlines(keepends=True) or [b""]
        at = rng.randrange(len(lines))
        before, whole, after = b"".join(lines[:at]), lines[at], b"".join(lines[at + 1 :])
        try:
            content = json.loads(whole)
        except (ValueError, RecursionError):
            return flip_bits(data, rng)
    holder = [content]
    place = (0, *rng.choice(_places(content) or [()]))
    inner: Any = holder
    for key in place[:-1]:
        inner = inner[key]
    change(inner, place[-1])
    end = b"\n" if whole.endswith(b"\n") else b""
    return before + (json.dumps(holder[0]).encode() if holder else b"") + end + after


def remove_field(data: bytes, rng: random.Random) -> bytes:
    return _edit(data, rng, lambda holder, key: holder.pop(key))


def rename_field(data: bytes, rng: random.Random) -> bytes:
    def change(holder: Any, key: Any) -> None:
        if isinstance(holder, dict):
            holder[rng.choice([*ODD, *map(str, holder)])] = holder.pop(key)
        else:
            holder.append(holder[key])

    return _edit(data, rng, change)


def wrong_type(data: bytes, rng: random.Random) -> bytes:
    return _edit(data, rng, lambda holder, key: holder.__setitem__(key, rng.choice(_VALUES)))


def swap_values(data: bytes, rng: random.Random) -> bytes:
    def change(holder: Any, key: Any) -> None:
        other = rng.choice(list(holder) if isinstance(holder, dict) else list(range(len(holder))))
        holder[key], holder[other] = holder[other], holder[key]

    return _edit(data, rng, change)


def nest_field(data: bytes, rng: random.Random) -> bytes:
    return _edit(data, rng, lambda holder, key: holder.__setitem__(key, rng.choice(([holder[key]], {"value": holder[key]}))))


def deep_field(data: bytes, rng: random.Random) -> bytes:
    mark = f"deep{rng.randrange(10**6)}"
    edited = _edit(data, rng, lambda holder, key: holder.__setitem__(key, mark))
    depth = rng.choice((50, DEEP, 30 * DEEP))
    return edited.replace(f'"{mark}"'.encode(), b"[" * depth + b"]" * depth)


def raw_field(data: bytes, rng: random.Random) -> bytes:
    """What `json.dumps` would not write: numbers out of range, bare words."""
    mark = f"raw{rng.randrange(10**6)}"
    edited = _edit(data, rng, lambda holder, key: holder.__setitem__(key, mark))
    return edited.replace(f'"{mark}"'.encode(), rng.choice(ODD).encode())


def double_field(data: bytes, rng: random.Random) -> bytes:
    """The same name twice in one object."""
    at = data.find(b"{") + 1
    end = data.find(b",", at)
    return data[:at] + data[at : end + 1] + data[at:] if 0 < at < end else repeat_bytes(data, rng)


JSON: tuple[Change, ...] = (
    *(remove_field, rename_field, wrong_type, wrong_type, wrong_type, swap_values, nest_field, deep_field, raw_field),
    double_field,
)


def odd_line(data: bytes, rng: random.Random) -> bytes:
    lines = data.splitlines(keepends=True) or [b""]
    odd = (
        b"\x00\xff{garbage\n",
        b"17\n",
        b"[1]\n",
        b"{}\n",
        b"null\n",
        b"[" * DEEP + b"]" * DEEP + b"\n",
        b"\n",
        b"x" * 10**6 + b"\n",
    )
    lines[rng.randrange(len(lines))] = rng.choice(odd)
    return b"".join(lines)


def shuffle_lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    rng.shuffle(lines)
    return b"".join(lines)


def double_lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.splitlines(keepends=True) or [b""]
    return b"".join([*lines, *lines[rng.randrange(len(lines)) :]])


LINES: tuple[Change, ...] = (*JSON, odd_line, shuffle_lines, double_lines)
