# SPDX-License-Identifier: Apache-2.0
import argparse
import collections
import enum
import functools
import io
import os
import pathlib
import pickle
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_interp.core.errors import CheckpointError
from lightning_interp.sources.checkpoints.pickle_reader import Limits, Placeholder, StoredTensor, read_pickle
from lightning_interp.sources.checkpoints.rebuild import StoredBytes

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
FEW = Limits(opcodes=5000, memo=1000, depth=50)


class Phase(enum.Enum):
    CLEANUP = "cleanup"


class Stateful:
    def __setstate__(self, state):
        os.system(state["command"])


def read(stream: bytes, limits: Limits | None = None) -> object:
    return read_pickle(stream, source="file.pt", limits=limits)


def is_inert(content: object) -> bool:
    """Whether nothing but plain values and stand-ins is in a structure; each container is looked at once."""
    todo, seen = [content], set()
    while todo:
        value = todo.pop()
        if type(value) in (list, tuple, set, frozenset, dict):
            if id(value) not in seen:
                seen.add(id(value))
                todo.extend([*value, *value.values()] if type(value) is dict else value)
        elif value is not None and type(value) not in (bool, int, float, str, bytes, Placeholder, StoredTensor, StoredBytes):
            return False
    return True


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


@pytest.fixture
def marker(tmp_path):
    """A file that every malicious stream here would create."""
    path = tmp_path / "marker"
    yield path
    assert not path.exists()


PLAIN = {
    "none": None,
    "flags": [True, False],
    "numbers": [0, 255, 65536, -1, 2**31, -(2**62), 2**200, 0.5, float("inf")],
    "texts": ["", "abc", "é\u2028\U0001f600", "x" * 300, "it's\n"],
    "bytes": [b"", b"abc", bytes(range(256)), b"x" * 300],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    "sets": [set(), {1, 2}, frozenset({"a"}), frozenset()],
    ("a", 1): {3: {}, None: [], 0.5: 1},
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_read_pickle_rebuilds_plain_values(protocol):
    found = read(pickle.dumps(PLAIN, protocol))
    assert found == PLAIN
    assert [type(value) for value in found["sets"]] == [set, set, frozenset, frozenset]
    assert is_inert(found)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_read_pickle_gives_ordered_dicts_as_dicts_and_sizes_as_tuples(protocol):
    ordered = collections.OrderedDict(b=1, a=torch.Size([2, 3]))
    ordered._metadata = {"version": 1}  # as state dicts have it: their state is built on them, here it is dropped
    found = read(pickle.dumps(ordered, protocol))
    assert found == {"b": 1, "a": (2, 3)}
    assert list(found) == ["b", "a"]
    assert type(found) is dict


def test_read_pickle_takes_the_pairs_python_2_gives_an_ordered_dict():
    assert read(b"ccollections\nOrderedDict\n(](](K\x01K\x02e](K\x03K\x04eetR.") == {1: 2, 3: 4}


def test_read_pickle_keeps_several_frames_and_shared_values_apart_from_copies():
    shared = ["x" * 70_000]
    found = read(pickle.dumps([shared, shared, b"y" * 70_000, {"k": shared}], 4))
    assert found[0] is found[1] is found[3]["k"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_read_pickle_rebuilds_what_holds_itself(protocol):
    items: list = []
    entries = {"items": items}
    items.extend([items, (items,), entries])
    found = read(pickle.dumps(items, protocol))
    assert found[0] is found
    assert found[1][0] is found
    assert found[2]["items"] is found


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("value", "module", "name", "kind"),
    [
        (np.float64, "numpy", "float64", "name"),
        (torch.float16, "torch", "float16", "name"),
        (os.path.join, "posixpath", "join", "name"),
        (pathlib.PurePosixPath("a/b"), "pathlib", "PurePosixPath", "result"),
        (functools.partial(int, base=2), "functools", "partial", "result"),
        (collections.deque([1, 2]), "collections", "deque", "result"),
        (collections.defaultdict(list, a=[1]), "collections", "defaultdict", "result"),
        (Phase.CLEANUP, __name__, "Phase", "result"),
    ],
    ids=["class", "dtype", "function", "path", "partial", "deque", "defaultdict", "enum"],
)
def test_read_pickle_gives_stand_ins(protocol, value, module, name, kind):
    found = read(pickle.dumps({"value": value}, protocol))["value"]
    assert found == Placeholder(module, name, kind)


@pytest.mark.parametrize(
    "value", [np.arange(4), np.complex64(2), argparse.Namespace(lr=1), 1 + 2j, bytearray(b"x"), io.BytesIO()]
)
def test_read_pickle_drops_what_a_stand_in_holds(value):
    assert type(read(pickle.dumps({"value": value}, 2))["value"]) is Placeholder


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.int32, np.int64, np.uint64, np.float16, np.float32, np.float64])
def test_read_pickle_gives_numbers_of_numpy(kind, protocol):
    assert read(pickle.dumps({"value": kind(7)}, protocol))["value"] == 7


def test_read_pickle_leaves_numbers_of_big_end_alone():
    value = np.array([7], dtype=">i8")[0].newbyteorder() if hasattr(np.int64, "newbyteorder") else np.dtype(">i8")
    assert type(read(pickle.dumps({"value": value}, 2))["value"]) is Placeholder


def test_placeholder_text_tells_what_it_stands_for_and_escapes_control_characters():
    assert Placeholder("pathlib", "Path").text == "pathlib.Path"
    assert Placeholder("pathlib", "Path", "result").text == "result of pathlib.Path"
    assert Placeholder("m", "\x1b[31m\n").text == r"m.\x1b[31m\n"
    assert len(Placeholder("m" * 10**6, "n" * 10**6).text) < 300


def hostile_streams(command: str) -> dict[str, bytes]:
    """Streams that run a command, or try to, when pickle.loads reads them, by what they do it with."""
    system, argument = b"cos\nsystem\n", text(command)
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n"
    state = b"}" + text("command") + argument + b"s"
    inner = pickle.dumps({"a": 1})[:-1] + b"0" + system + argument + b"\x85R."
    stateful = f"c{__name__}\nStateful\n".encode()
    return {
        "REDUCE": system + argument + b"\x85R.",
        "REDUCE of STACK_GLOBAL": text("os") + text("system") + b"\x93" + argument + b"\x85R.",
        "STACK_GLOBAL dotted": b"\x80\x04" + text("os") + text("path.os.system") + b"\x93" + argument + b"\x85R.",
        "GLOBAL builtins": b"cbuiltins\neval\n" + text(f"__import__('os').system({command!r})") + b"\x85R.",
        "GLOBAL known, not its place": b"ccollections\nOrderedDict.fromkeys\n" + argument + b"\x85R.",
        "INST": b"(" + argument + b"ios\nsystem\n.",
        "OBJ": b"(" + system + argument + b"o.",
        "NEWOBJ": b"\x80\x02" + stateful + b")\x81" + state + b"b.",
        "NEWOBJ of a function": b"\x80\x02" + system + argument + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04csubprocess\nPopen\n)}" + text("args") + argument + b"s\x92.",
        "NEWOBJ_EX of a known class": b"\x80\x04ccollections\nOrderedDict\n)}" + text("args") + argument + b"s\x92.",
        "BUILD on a stand-in": stateful + b")R" + state + b"b.",
        "BUILD on a class": stateful + state + b"b.",
        "BUILD on a rebuild function": rebuild + b"}" + text("__call__") + system + b"sb.",
        "BUILD on a dict": b"ccollections\nOrderedDict\n)R}" + text("__class__") + stateful + b"sb.",
        "BUILD with slots": b"ccollections\nOrderedDict\n)RN}" + text("keys") + system + b"s\x86b.",
        "call of a result": b"cbuiltins\ngetattr\ncposix\n_exit\n" + text("__self__") + b"\x86R" + argument + b"\x85R.",
        "nested pickle": b"B" + struct.pack("<I", len(inner)) + inner + b".",
        "nested pickle.loads": b"c_pickle\nloads\nB" + struct.pack("<I", len(inner)) + inner + b"\x85R.",
        "_codecs.encode with a codec": b"c_codecs\nencode\n" + argument + text("hex") + b"\x86R.",
        "rebuild with a function for a storage": rebuild + b"(" + system + b"K\x00))\x89)tR.",
        "persistent id that names a function": b"(" + text("storage") + system + text("0") + text("cpu") + b"K\x01tQ.",
        "persistent id that is a call": system + argument + b"\x85RQ.",
        "persistent id as text": b"Pos.system\n.",
        "EXT1": b"\x82\x01" + argument + b"\x85R.",
        "EXT2": b"\x83\x01\x02.",
        "EXT4": b"\x84\x01\x02\x03\x04.",
        "SETITEMS on a stand-in": b"cos\nenviron\n(" + text("PATH") + argument + b"u.",
        "APPENDS on a stand-in": b"csys\npath\n(" + argument + b"e.",
        "ADDITEMS on a stand-in": b"\x80\x04csys\nmeta_path\n(" + argument + b"\x90.",
        "two values": system + argument + b"\x85R" + b"N.",
        "after its end": b"N." + system + argument + b"\x85R.",
    }


NAMES = list(hostile_streams(""))


@pytest.mark.parametrize("name", NAMES)
def test_read_pickle_runs_nothing_of_a_hostile_stream(name, marker):
    try:
        content = read(hostile_streams(f"touch {marker}")[name])
    except CheckpointError:
        return
    assert is_inert(content)


@pytest.mark.parametrize("name", ["REDUCE", "STACK_GLOBAL dotted", "INST", "OBJ", "nested pickle.loads"])
def test_hostile_streams_do_harm_to_pickle(name, tmp_path):
    # What the test above proves is worth something only if pickle itself falls for such streams.
    path = tmp_path / "harmed"
    pickle.loads(hostile_streams(f"touch {path}")[name])
    assert path.exists()


def test_read_pickle_never_asks_what_a_class_with_reduce_names(marker):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {marker}",)

    assert read(pickle.dumps([Evil()])) == [Placeholder("posix", "system", "result")]


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"", "no opcode can be read"),
        (b"\x80\x04]", "no opcode can be read"),
        (b"\xff.", "no opcode can be read"),
        (b"R.", "takes more values"),
        (b".", "0 values and 0 open marks are left"),
        (b"NN.", "2 values and 0 open marks are left"),
        (b"(N.", "1 values and 1 open marks are left"),
        (b"N.N", "1 bytes follow"),
        (b"N0N0N.N.", "2 bytes follow"),
        (b"t.", "needs a MARK"),
        (b"0.", "needs a MARK"),
        (b"2.", "needs a value"),
        (b"q\x00.", "needs a value"),
        (b"h\x07.", "referred to and was not kept"),
        (b"j\xff\xff\xff\xff.", "referred to and was not kept"),
        (b"Np-1\n.", "cannot be kept"),
        (b"K\x01K\x02a.", "appended to a int"),
        (b"](K\x01u.", "no value"),
        (b"]K\x01K\x02s.", "set in a list"),
        (b"]]\x90.", "needs a MARK"),
        (b"\x80\x04](K\x01\x90.", "added to a list"),
        (b"}]Ns.", "a list is a key"),
        (b"}(]tNs.", "a list is a key"),
        (b"\x80\x04\x8f(}\x90.", "a dict is a key"),
        (b"K\x01)R.", "a int is called"),
        (b"cos\nsystem\n]R.", "called with a list"),
        (b"K\x01K\x02\x93.", "no text"),
        (b"(o.", "made of no class"),
        (b"\x80\x06N.", "protocol 6"),
        (b"\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.", "does not fit"),
        (b"\x95\x10\x00\x00\x00\x00\x00\x00\x00N.", "does not fit"),
        (b"\x97.", "NEXT_BUFFER is not read"),
        (b"N\x98.", "READONLY_BUFFER is not read"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.", "no opcode can be read"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc.", "no opcode can be read"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.", "no opcode can be read"),
        (b"\x96\xff\xff\xff\xff\xff\xff\xff\x7fabc.", "no opcode can be read"),
        (b"\x8b\xff\xff\xff\x7fabc.", "no opcode can be read"),
        (b"\x8b\xff\xff\xff\xffabc.", "no opcode can be read"),
        (b"X\xff\xff\xff\xffabc.", "no opcode can be read"),
        (b"X\x01\x00\x00\x00\xff.", "no opcode can be read"),
        (b"I" + b"9" * 5000 + b"\n.", "no opcode can be read"),
        (b"Ix y\n.", "no opcode can be read"),
        (b"\x8b\x00\x10\x00\x00" + b"\x7f" * 4096 + b".", "integer of 32767 bits"),
        (b"}\x8a\x10" + b"\x7f" * 16 + b"Ns.", "key of 127 bits"),
        (b"ccollections\nOrderedDict\nK\x01\x85R.", "no list"),
        (b"ccollections\nOrderedDict\n]K\x01a\x85R.", "no list of pairs"),
        (b"cbuiltins\nset\nK\x01\x85R.", "no list"),
    ],
)
def test_read_pickle_refuses_what_is_malformed(stream, reason):
    with pytest.raises(CheckpointError, match=rf"(?s)file\.pt: byte \d+ of the pickle: .*({reason}).*Nothing of it was run"):
        read(stream)


def test_read_pickle_keeps_values_at_any_index_without_room_for_those_before():
    assert read(b"K\x05r\xff\xff\xff\xff0j\xff\xff\xff\xff.") == 5


@pytest.mark.parametrize("cut", range(0, 200, 7))
def test_read_pickle_refuses_a_stream_cut_short(cut):
    stream = pickle.dumps(PLAIN, 4)
    with pytest.raises(CheckpointError):
        read(stream[:cut])


@pytest.mark.parametrize(
    ("stream", "limits", "reason"),
    [
        (pickle.dumps("x" * 100), Limits(stream=50), "more than 50"),
        (b"N0" * 60 + b"N.", Limits(opcodes=100), "more than 100 opcodes"),
        (b"\x80\x04" + b"N\x940" * 20 + b"N.", Limits(memo=10), "at most 10"),
        (b"(" * 60 + b"N.", Limits(depth=50), "more than 50 marks"),
        (b"N" + b"\x85" * 60 + b".", Limits(depth=50), "more than 50 containers"),
        (b"}" + b"K\x01}" * 60 + b"s" * 60 + b".", Limits(depth=50), "more than 50 containers"),
        # Each list is put in the one made before it, then all of them in one: none is far from the outermost.
        (
            b"(" + b"".join(b"]q" + bytes([n]) for n in range(60))
            + b"".join(b"h" + bytes([n]) + b"h" + bytes([n + 1]) + b"a0" for n in range(59)) + b"l.",
            Limits(depth=50),
            "more than 50 containers",
        ),
    ],
    ids=["stream", "opcodes", "memo", "marks", "tuples", "dicts", "lists grown from within"],
)  # fmt: skip
def test_read_pickle_stops_at_its_limits(stream, limits, reason):
    with pytest.raises(CheckpointError, match=reason):
        read(stream, limits)


@pytest.mark.timeout(60)
def test_read_pickle_shares_a_billion_laughs():
    found = read(b"N" + b"2\x86" * 200 + b".")
    for _ in range(200):
        assert found[0] is found[1]
        found = found[0]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"}N" + b"2\x86" * 100 + b"Ns.", "key of more than"),
        (b"\x80\x04(N" + b"2\x86" * 100 + b"\x91.", "key of more than"),
        (b"](" + b"N" * 10_000 + b"eq\x000" + b"(" + b"cbuiltins\nset\nh\x00\x85R" * 2000 + b"l.", "copy more than"),
        (
            text("x" * 10_000) + b"q\x000(" + b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R" * 2000 + b"l.",
            "copy more than",
        ),
    ],
    ids=["dict key", "member of a set", "sets of one list", "bytes of one text"],
)
def test_read_pickle_refuses_little_text_that_makes_much_work(stream, reason):
    with pytest.raises(CheckpointError, match=reason):
        read(stream)


STORAGE = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x08tQ"
FRAGMENTS = [
    *(bytes([code]) for code in b"()]}N\x88\x85\x86\x87tld0122aesubRQo\x81\x92\x8f\x90\x91\x93\x94\x97"),
    *(b"K\x00", b"K\x01", b"K\x08", b"q\x00", b"h\x00", b"q\x01", b"h\x01", b"\x82\x01", b"\x80\x02", b"C\x01a"),
    *(b"cos\nsystem\n", b"ios\nsystem\n", b"\x95" + bytes(8), text("latin1"), text("storage"), b"c_codecs\nencode\n"),
    *(b"ccollections\nOrderedDict\n", b"ctorch\nSize\n", b"cbuiltins\nset\n", b"ctorch\nFloatStorage\n"),
    *(
        STORAGE,
        b"K\x02K\x03\x86",
        b"\x89}",
        b"ctorch._utils\n_rebuild_tensor_v2\n(",
        b"ctorch._utils\n_rebuild_parameter\n(",
    ),
]


def inert_or_refused(stream: bytes) -> bool:
    try:
        content = read(stream, FEW)
    except CheckpointError:
        return True
    return is_inert(content)


@settings(max_examples=1000)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=60))
def test_read_pickle_gives_inert_content_or_refuses_opcodes_in_any_order(fragments):
    assert inert_or_refused(b"".join(fragments) + b".")


@settings(max_examples=500)
@given(st.binary(max_size=200))
def test_read_pickle_gives_inert_content_or_refuses_bytes_in_any_order(stream):
    assert inert_or_refused(stream)


VALID = [pickle.dumps(PLAIN, protocol) for protocol in PROTOCOLS] + list(hostile_streams("true").values())


@settings(max_examples=1000)
@given(
    st.sampled_from(VALID), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8), st.integers(0, 2000)
)
def test_read_pickle_gives_inert_content_or_refuses_a_stream_changed_anywhere(stream, changes, cut):
    changed = bytearray(stream)
    for place, byte in changes:
        changed[place % len(changed)] = byte
    assert inert_or_refused(bytes(changed[: len(changed) if cut > 1000 else cut % len(changed)]))
