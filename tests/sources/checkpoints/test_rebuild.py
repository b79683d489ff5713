# SPDX-License-Identifier: Apache-2.0
import struct

import pytest
import torch

from lightning_interp.core.errors import CheckpointError
from lightning_interp.sources.checkpoints.pickle_reader import read_pickle
from lightning_interp.sources.checkpoints.rebuild import Placeholder, StoredTensor


def read(stream: bytes) -> object:
    return read_pickle(stream, source="file.pt")


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def storage(kind: str = "torch FloatStorage", key: bytes = text("0"), elements: bytes = b"K\x08") -> bytes:
    module, name = kind.split()
    return b"(" + text("storage") + f"c{module}\n{name}\n".encode() + key + text("cpu") + elements + b"tQ"


def tensor(*arguments: bytes, function: str = "_rebuild_tensor_v2") -> bytes:
    return f"ctorch._utils\n{function}\n(".encode() + b"".join(arguments) + b"tR."


HOOKS = b"ccollections\nOrderedDict\n)R"
SHAPE = b"K\x02K\x03\x86", b"K\x03K\x01\x86"


def test_read_pickle_gives_stored_tensors():
    found = read(tensor(storage(), b"K\x02", *SHAPE, b"\x89", HOOKS))
    assert found == StoredTensor(key="0", dtype=torch.float32, offset=2, size=(2, 3), stride=(3, 1), nbytes=32)


def test_read_pickle_knows_the_older_rebuild_functions_and_the_newest():
    assert read(tensor(storage(), b"K\x02", *SHAPE, function="_rebuild_tensor")).offset == 2
    untyped = storage("torch.storage UntypedStorage", elements=b"K\x0c")
    found = read(tensor(untyped, b"K\x00", *SHAPE, b"\x89", HOOKS, b"ctorch\nuint16\n", function="_rebuild_tensor_v3"))
    assert (found.dtype, found.nbytes) == (torch.uint16, 12)


@pytest.mark.parametrize(
    "stream",
    [
        tensor(storage("torch QInt8Storage"), b"K\x00", *SHAPE, b"\x89", HOOKS),
        tensor(storage("torch __dict__"), b"K\x00", *SHAPE, b"\x89", HOOKS),
        tensor(storage("os FloatStorage"), b"K\x00", *SHAPE, b"\x89", HOOKS),
        tensor(storage(), b"K\x00", *SHAPE, b"\x89", HOOKS, b"}" + text("conj") + b"\x88s"),
        tensor(storage(), b"K\x00", *SHAPE, b"\x89", HOOKS, b"ctorch\nnn\n", function="_rebuild_tensor_v3"),
        tensor(storage(), b"K\x00", *SHAPE, b"\x89", HOOKS, b"cos\nfloat32\n", function="_rebuild_tensor_v3"),
        tensor(storage(), b"K\x00", *SHAPE, b"\x89", HOOKS, function="_rebuild_qtensor"),
    ],
    ids=["quantized", "attribute", "other module", "conjugated", "no dtype", "dtype of another module", "other function"],
)
def test_read_pickle_gives_a_stand_in_for_a_tensor_its_bytes_do_not_tell(stream):
    found = read(stream)
    assert type(found) is Placeholder
    assert found.kind == "result"


HUGE = b"\x8a\x08" + b"\xff" * 7 + b"\x7f"


@pytest.mark.parametrize(
    "stream",
    [
        tensor(storage(), b"K\x03", *SHAPE, b"\x89", HOOKS),
        tensor(storage(elements=b"K\x05"), b"K\x00", *SHAPE, b"\x89", HOOKS),
        tensor(storage(), b"J\xff\xff\xff\xff", *SHAPE, b"\x89", HOOKS),
        tensor(storage(), b"K\x00", b"J\xff\xff\xff\xff\x85", b"K\x01\x85", b"\x89", HOOKS),
        tensor(storage(), b"K\x07", b"K\x02\x85", b"J\xff\xff\xff\xff\x85", b"\x89", HOOKS),
        tensor(storage(), b"K\x00", HUGE + b"\x85", b"K\x00\x85", b"\x89", HOOKS),
        tensor(storage(), b"K\x00", HUGE + HUGE + b"\x86", b"K\x00K\x00\x86", b"\x89", HOOKS),
        tensor(storage(), HUGE, b"K\x01\x85", HUGE + b"\x85", b"\x89", HOOKS),
        tensor(storage(), b"K\x00", b"K\x02\x85", HUGE + b"\x85", b"\x89", HOOKS),
        tensor(storage(), b"K\x00", b"K\x02\x85", b"K\x01K\x01\x86", b"\x89", HOOKS),
        tensor(storage(), b"K\x00", b"(" + b"K\x01" * 65 + b"t", b"(" + b"K\x01" * 65 + b"t", b"\x89", HOOKS),
        tensor(storage(), b"G" + bytes(8), *SHAPE, b"\x89", HOOKS),
        tensor(storage(), b"\x88", *SHAPE, b"\x89", HOOKS),
        tensor(storage(), b"K\x00", b"]K\x02a", b"]K\x01a", b"\x89", HOOKS),
        tensor(storage(), b"K\x00", text("ab"), text("ab"), b"\x89", HOOKS),
        tensor(storage(), b"K\x00", b"N\x85", b"N\x85", b"\x89", HOOKS),
        tensor(b"N", b"K\x00", *SHAPE, b"\x89", HOOKS),
        tensor(storage()),
        tensor(storage(), b"K\x00", b"K\x01\x85", b"\x8a\x09" + bytes(8) + b"\x01\x85", b"\x89", HOOKS),
        storage(elements=b"J\xff\xff\xff\xff") + b".",
        tensor(storage(), b"K\x00", *SHAPE, b"\x89", HOOKS, b"ctorch\nfloat32\n)R", function="_rebuild_tensor_v3"),
        tensor(storage(elements=HUGE), b"K\x00", *SHAPE, b"\x89", HOOKS),
        tensor(storage(elements=b"J\xff\xff\xff\xff"), b"K\x00", *SHAPE, b"\x89", HOOKS),
        tensor(storage(elements=b"\x88"), b"K\x00", *SHAPE, b"\x89", HOOKS),
        tensor(storage(key=b"K\x00"), b"K\x00", *SHAPE, b"\x89", HOOKS),
        tensor(storage(), b"K\x00", *SHAPE, b"\x89", HOOKS, b"K\x01", function="_rebuild_tensor_v3"),
        tensor(b"K\x01", b"\x89", HOOKS, function="_rebuild_parameter"),
        tensor(function="_rebuild_parameter_with_state"),
    ],
)
def test_read_pickle_refuses_tensors_that_cannot_be(stream):
    with pytest.raises(CheckpointError):
        read(stream)


def test_stored_tensor_lies_within_its_storage_by_construction():
    with pytest.raises(ValueError, match="needs 3 elements, 2 are there"):
        StoredTensor("0", torch.float32, 1, (2,), (1,), 8)
    assert StoredTensor("0", torch.float32, 9, (0, 4), (4, 1), 0).size == (0, 4)


@pytest.mark.parametrize(
    "stream",
    [
        b"\x80\x04ccollections\nOrderedDict\n)}" + text("a") + b"K\x01s\x92.",
        storage("collections OrderedDict") + b")R.",
        b"\x82\x01)R.",
    ],
    ids=["keywords", "persistent id", "extension"],
)
def test_read_pickle_understands_a_call_only_as_torch_writes_it(stream):
    found = read(stream)
    assert type(found) is Placeholder
    assert found.kind == "result"
