# SPDX-License-Identifier: Apache-2.0
"""Changes inside binary files that leave the outside whole: sizes and checksums fit again, so that readers get far.

Files of ``torch.save`` and their pickles, safetensors, TensorBoard's events and W&B's records.
"""

import io
import itertools
import pickletools
import random
import struct
import zipfile
import zlib
from collections.abc import Callable

import fuzz_changes
from fuzz_changes import Change

_FLOATS = (0.0, -0.0, 3e38, 1e-44, 1.0, float("nan"), float("inf"), float("-inf"))
_WORDS = (b"a.weight", b"a.bias", b"b.weight", b"global_step", b"state_dict", b"FloatStorage", b"_rebuild_tensor_v2")
_OTHER = (
    *(b"x.weight", b"a.weight", b"module.a", b"global_stop", b"", b"state_dicx", b"HalfStorage", b"BoolStorage"),
    *(b"ComplexFloatStorage", b"_rebuild_parameter", b"_rebuild_sparse_tensor", b"system", b"../../x", b"a\0b"),
)


def odd_floats(data: bytes, rng: random.Random) -> bytes:
    """Some numbers of 4 bytes are zero, tiny, enormous or none."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 4, len(data) // 4 or 1))):
        at = rng.randrange(max(1, len(changed) // 4)) * 4
        changed[at : at + 4] = struct.pack("<f", rng.choice(_FLOATS))[: len(changed[at : at + 4])]
    return bytes(changed)


# files of torch.save


def _members(data: bytes) -> list[tuple[str, bytes]] | None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [(name, archive.read(name)) for name in archive.namelist()]
    except Exception:  # what was changed before may be no zip file any more, in many ways
        return None


def _zipped(members: list[tuple[str, bytes]], rng: random.Random, compressed: bool = False) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
        for name, content in members:
            if name not in archive.namelist() or rng.random() < 0.5:
                archive.writestr(zipfile.ZipInfo(name or "x"), content)  # no time of day
    return made.getvalue()


def _in_member(part: str, change: Change) -> Change:
    def in_member(data: bytes, rng: random.Random) -> bytes:
        members = _members(data)
        fitting = [at for at, (name, _) in enumerate(members or ()) if part in name]
        if not members or not fitting:
            return fuzz_changes.flip_bits(data, rng)
        at = rng.choice(fitting)
        members[at] = (members[at][0], change(members[at][1], rng))
        return _zipped(members, rng)

    in_member.__name__ = f"{change.__name__} in {part}"
    return in_member


def pickle_operations(data: bytes, rng: random.Random) -> bytes:
    """Operations of a pickle left out, doubled, exchanged, or with another number."""
    try:
        operations = list(pickletools.genops(data))
    except Exception:  # not a pickle any more
        return fuzz_changes.flip_bits(data, rng)
    starts = [at or 0 for _, _, at in operations] + [len(data)]
    parts = [data[one:two] for one, two in itertools.pairwise(starts)]
    at = rng.randrange(len(parts))
    kind = rng.randrange(5)
    numbers = [
        each for each, (code, _, _) in enumerate(operations) if code.name in ("BININT", "BININT1", "BININT2", "LONG1")
    ]
    if kind == 0:
        del parts[at]
    elif kind == 1:
        parts.insert(at, rng.choice(parts))
    elif kind == 2:
        parts[at] = rng.choice(parts)
    elif numbers:  # sizes, strides, offsets, numbers of elements, steps
        value = rng.choice((0, 1, 2, 3, 7, 255, 2**16, 2**31 - 1, -1, 2**40, 2**63 - 1, 2**63, -(2**63)))
        size = value.bit_length() // 8 + 1
        small = -(2**31) <= value < 2**31
        parts[rng.choice(numbers)] = (
            b"J" + struct.pack("<i", value)
            if small
            else b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)
        )
    return b"".join(parts)


def pickle_words(data: bytes, rng: random.Random) -> bytes:
    """A string of a pickle is another one, with a length that fits."""
    old, new = rng.choice([word for word in _WORDS if word in data] or [b"q"]), rng.choice(_OTHER)
    if old in (b"FloatStorage", b"_rebuild_tensor_v2"):
        return data.replace(old, new)
    at = data.find(b"X" + struct.pack("<I", len(old)) + old)
    return data if at < 0 else data[: at + 1] + struct.pack("<I", len(new)) + new + data[at + 5 + len(old) :]


def zip_members(data: bytes, rng: random.Random) -> bytes:
    """A member left out, renamed, twice, exchanged, of another length, or all compressed."""
    members = _members(data)
    if not members:
        return fuzz_changes.cut(data, rng)
    at, kind = rng.randrange(len(members)), rng.randrange(6)
    name, content = members[at]
    if kind == 0:
        del members[at]
    elif kind == 1:
        members[at] = (rng.choice((name.upper(), "../" + name, name + "\0x", "data.pkl", name.rpartition("/")[2])), content)
    elif kind == 2:
        members.append((name, rng.choice(members)[1]))
    elif kind == 3:
        members[at] = (name, rng.choice(members)[1])
    elif kind == 4:
        members[at] = (name, rng.choice((content[:-4], content * 2, b"", content + bytes(10**6))))
    return _zipped(members, rng, compressed=kind == 5)


TORCH: tuple[Change, ...] = (
    *(
        _in_member("data.pkl", change)
        for change in (pickle_operations, pickle_operations, pickle_words, fuzz_changes.flip_bits)
    ),
    *(_in_member("/data/", change) for change in (*[odd_floats] * 4, fuzz_changes.flip_bits)),
    *(_in_member("byteorder", change) for change in (fuzz_changes.flip_bits, fuzz_changes.insert_odd)),
    zip_members,
)


# safetensors


def _header(change: Change) -> Change:
    def in_header(data: bytes, rng: random.Random) -> bytes:
        length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
        if not 0 < length < len(data):
            return fuzz_changes.flip_bits(data, rng)
        header = change(data[8 : 8 + length], rng)
        return struct.pack("<Q", len(header)) + header + data[8 + length :]

    in_header.__name__ = f"{change.__name__} in header"
    return in_header


def _body(data: bytes, rng: random.Random) -> bytes:
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    return data[: 8 + length] + odd_floats(data[8 + length :], rng) if 0 < length < len(data) else odd_floats(data, rng)


def other_dtype(data: bytes, rng: random.Random) -> bytes:
    kinds = (b"F64", b"F16", b"BF16", b"F8_E4M3", b"I64", b"I32", b"U8", b"BOOL", b"C64", b"X9")
    return data.replace(b"F32", rng.choice(kinds), rng.choice((1, -1)))


def other_shape(data: bytes, rng: random.Random) -> bytes:
    at = data.find(b'"shape":[', rng.randrange(len(data))) + len(b'"shape":[')
    end = data.find(b"]", at)
    shapes = (b"", b"0", b"-1", b"24", b"2,3,4", b"1" + b",1" * 70, b"4294967296,4294967296", b"9223372036854775808", b"1.5")
    return data[:at] + rng.choice(shapes) + data[end:] if at < end else data


def header_length(data: bytes, rng: random.Random) -> bytes:
    return struct.pack("<Q", rng.choice((0, 1, 2**20, 2**40, 2**63, 2**64 - 1))) + data[8:]


SAFETENSORS: tuple[Change, ...] = (
    *(_header(change) for change in (*fuzz_changes.JSON, other_dtype, other_shape, fuzz_changes.flip_bits)),
    *([_body] * 7),
    header_length,
)


# records with checksums: TensorBoard's events, W&B's log


def _events(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at + 12 <= len(data):
        length = struct.unpack_from("<Q", data, at)[0]
        if length > len(data):
            break
        found.append(data[at + 12 : at + 12 + length])
        at += 16 + length
    return found


def _event_file(records: list[bytes]) -> bytes:
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    made = b""
    for record in records:
        length = struct.pack("<Q", len(record))
        made += length + struct.pack("<I", masked_crc32c(length)) + record + struct.pack("<I", masked_crc32c(record))
    return made


def _wandb_records(data: bytes) -> list[bytes]:
    found, at, begun = [], 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # the rest of a block is empty
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        begun += data[at + 7 : at + 7 + length]
        if kind in (1, 4):
            found.append(begun)
            begun = b""
        at += 7 + length
    return found


def _wandb_file(records: list[bytes], start: bytes) -> bytes:
    made = start[:7]
    for record in records:
        part, first = record, True
        while first or part:
            room = 32768 - len(made) % 32768
            if room < 7:
                made += bytes(room)
                continue
            piece, part = part[: room - 7], part[room - 7 :]
            kind = bytes([{(True, True): 1, (True, False): 2, (False, False): 3, (False, True): 4}[first, not part]])
            made += struct.pack("<IH", zlib.crc32(kind + piece), len(piece)) + kind + piece
            first = False
    return made


def event_fields(record: bytes, rng: random.Random) -> bytes:
    """Step, time, tag or value of an event of TensorBoard."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.util.tensor_util import make_tensor_proto

    event = Event.FromString(record)
    kind = rng.randrange(5)
    if kind == 0:
        event.step = rng.choice((-1, 0, 2**62, 2**63 - 1, -(2**63), 7))
    elif kind == 1:
        event.wall_time = rng.choice((float("nan"), -1.0, 1e300))
    for value in event.summary.value:
        if kind == 2:
            value.tag = rng.choice((*fuzz_changes.ODD, "val_loss", "epoch"))
        elif kind == 3:
            value.simple_value = rng.choice(_FLOATS)
        elif kind == 4:
            odd = rng.choice(([1.0, 2.0], "text", [[1]], True, 7, 1.5))
            value.tensor.CopyFrom(make_tensor_proto(odd))
            value.tensor.tensor_content = rng.choice((b"", b"", b"abc"))
    return event.SerializeToString()


def history_items(record: bytes, rng: random.Random) -> bytes:
    """Step, key or value of a history row of W&B."""
    from wandb.proto.wandb_internal_pb2 import Record

    made = Record.FromString(record)
    if not made.history.item:
        made.num = rng.choice((-1, 0, 2**62))
        return made.SerializeToString()
    if rng.random() < 0.1:
        made.history.step.num = rng.choice((-1, 2**62))
    item = rng.choice(made.history.item)
    if rng.random() < 0.7:
        item.value_json = rng.choice(('"NaN"', '"Infinity"', "{}", "[]", "null", "true", "1", "-3", *fuzz_changes.ODD))
    elif item.nested_key:
        item.nested_key[0] = rng.choice(("train_loss", "val_loss", "_step", *fuzz_changes.ODD))
    else:
        item.key = rng.choice(("train_loss", "val_loss", "_step", *fuzz_changes.ODD))
    return made.SerializeToString()


def _change_records(records: list[bytes], fields: Change, rng: random.Random) -> list[bytes]:
    """Records left out, doubled, exchanged, cut, with other bytes or other fields."""
    for _ in range(rng.choice((1, 1, 3, 10))):
        if not records:
            break
        at, kind = rng.randrange(len(records)), rng.randrange(9)
        if kind == 0:
            del records[at]
        elif kind == 1:
            records.insert(rng.randrange(len(records) + 1), records[at])
        elif kind == 2:
            other = rng.randrange(len(records))
            records[at], records[other] = records[other], records[at]
        elif kind == 3:
            records[at] = rng.choice(fuzz_changes.BYTES)(records[at], rng)
        else:
            try:
                records[at] = fields(records[at], rng)
            except (
                Exception
            ):  # bytes that were changed before are no message any more; W&B and TensorBoard have several errors
                records[at] = fuzz_changes.flip_bits(records[at], rng)
    return records


def events(data: bytes, rng: random.Random) -> bytes:
    return _event_file(_change_records(_events(data), event_fields, rng))


def wandb_log(data: bytes, rng: random.Random) -> bytes:
    return _wandb_file(_change_records(_wandb_records(data), history_items, rng), data)


def whole_again(path_name: str) -> Callable[[bytes], bytes]:
    """What takes a file of records apart and puts it together unchanged: for the test of this file."""
    if path_name.endswith(".wandb"):
        return lambda data: _wandb_file(_wandb_records(data), data)
    return lambda data: _event_file(_events(data))
