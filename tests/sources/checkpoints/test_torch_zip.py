# SPDX-License-Identifier: Apache-2.0
import argparse
import collections
import enum
import functools
import json
import os
import pathlib
import pickle
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_interp.core.errors import CheckpointError
from lightning_interp.core.recycled_memory import RecycledMemory
from lightning_interp.sources.checkpoints.pickle_reader import Limits, Placeholder, StoredTensor
from lightning_interp.sources.checkpoints.rebuild import _DTYPES
from lightning_interp.sources.checkpoints.torch_save import EPOCH_KEYS, STEP_KEYS, own_count, state_dict_of
from lightning_interp.sources.checkpoints.torch_zip import TorchZip

EMPTY = b"\x80\x02}q\x00."
STORED = StoredTensor("0", torch.float32, 0, (1,), (1,), 4)


class Optimizer(enum.Enum):
    ADAM = "adam"


class Evil:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def save(path, content, **settings):
    torch.save(content, path, **settings)
    return path


def tensors_of(path):
    with TorchZip(path) as archive:
        return archive.read_all(state_dict_of(archive.content)[0])


def read_everything(path):
    with TorchZip(path) as archive:
        counts = [own_count(archive.content, keys, archive.read) for keys in (STEP_KEYS, EPOCH_KEYS)]
        return archive.read_all(state_dict_of(archive.content)[0]), *counts


def zipped(path, *members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def assert_same(found, expected):
    assert (found.dtype, found.shape, found.stride()) == (expected.dtype, expected.shape, expected.stride())
    assert found.storage_offset() == expected.storage_offset()
    assert bytes(found.untyped_storage()) == bytes(expected.untyped_storage())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", _DTYPES.values(), ids=str)
@pytest.mark.filterwarnings("ignore:ComplexHalf:UserWarning")
def test_read_all_equals_torch_load_bit_by_bit(tmp_path, dtype, protocol):
    numbers = torch.randint(0, 2, (24 * dtype.itemsize,), dtype=torch.uint8).view(dtype).view(2, 3, 4)
    content = {"whole": numbers, "view": numbers.transpose(0, 2)[1:, ::2], "scalar": numbers[1, 2, 3], "none": numbers[:0]}
    path = save(tmp_path / "file.pt", content, pickle_protocol=protocol)
    found = tensors_of(path)
    expected = torch.load(path, weights_only=protocol < 3)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert_same(found[name], tensor)


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(0), torch.zeros(0, 4)[..., 3], torch.arange(6)[6:], torch.ones(1).expand(5, 3), torch.tensor(float("nan"))],
    ids=["empty", "past an empty storage", "at the end", "expanded", "not a number"],
)
def test_read_equals_torch_load_for_unusual_tensors(tmp_path, tensor):
    path = save(tmp_path / "file.pt", {"w": tensor})
    assert_same(tensors_of(path)["w"], torch.load(path)["w"])


def test_read_all_shares_the_memory_of_tied_tensors_and_of_no_others(tmp_path):
    tied, other = torch.ones(4, 4), torch.ones(4)
    found = tensors_of(save(tmp_path / "file.pt", {"a": tied, "b": tied, "row": tied[1], "other": other}))
    found["a"].zero_()
    assert not found["b"].any()
    assert not found["row"].any()
    assert found["other"].all()


def test_read_all_writes_into_no_memory_that_is_still_used(tmp_path):
    memory, kept = RecycledMemory(), []
    for number in range(3):
        torch.save({"a": torch.full((600, 600), float(number), dtype=torch.float64)}, tmp_path / "x.pt")
        with TorchZip(tmp_path / "x.pt") as archive:
            kept.append(archive.read_all(state_dict_of(archive.content)[0], memory)["a"][0])
    assert [row.unique().tolist() for row in kept] == [[0.0], [1.0], [2.0]]


def test_read_all_checks_memory_used_before_like_any_other(tmp_path):
    memory, path = RecycledMemory(), tmp_path / "x.pt"
    torch.save({"a": torch.ones(600, 600, dtype=torch.float64)}, path)
    with TorchZip(path) as archive:
        archive.read_all(state_dict_of(archive.content)[0], memory)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with TorchZip(path) as archive, pytest.raises(CheckpointError, match="differ from their CRC32"):
        archive.read_all(state_dict_of(archive.content)[0], memory)


def test_read_gives_one_tensor_of_its_own(tmp_path):
    with TorchZip(save(tmp_path / "file.pt", {"w": torch.arange(3.0)})) as archive:
        stored = archive.content["w"]
        first, second = archive.read(stored), archive.read(stored)
    first.zero_()
    assert second.tolist() == [0, 1, 2]


def test_parameters_with_and_without_attributes_are_tensors(tmp_path):
    plain, marked = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.zeros(2))
    marked.sharded = True
    found = tensors_of(save(tmp_path / "file.pt", {"plain": plain, "marked": marked}))
    assert found["plain"].tolist() == [1, 1]
    assert found["marked"].tolist() == [0, 0]


def test_crc32s_are_those_of_the_storages_without_reading_them(tmp_path):
    tensor = torch.arange(5.0)
    with TorchZip(save(tmp_path / "file.pt", {"w": tensor})) as archive:
        assert archive.crc32s() == {"0": zlib.crc32(tensor.numpy().data)}
        assert "content" not in vars(archive)


@pytest.mark.filterwarnings("ignore:Please use the new API:UserWarning")
def test_a_lightning_checkpoint_is_read_with_stand_ins(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(8, 3)).sum().backward()
    optimizer.step()
    hyper_parameters = {
        "folder": pathlib.Path("data"),
        "loss": torch.nn.CrossEntropyLoss,
        "schedule": functools.partial(int, base=2),
        "grid": np.arange(3),
        "rate": np.float64(0.1),
        "arguments": argparse.Namespace(layers=2),
        "optimizer": Optimizer.ADAM,
        "model": torch.nn.Linear(1, 1),
        "width": 128,
    }
    checkpoint = {
        "epoch": 3,
        "global_step": 120,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": model.state_dict(),
        "optimizer_states": [optimizer.state_dict()],
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5), "dirpath": None}},
        "hparams_name": "hparams",
        "hyper_parameters": hyper_parameters,
    }
    path = save(tmp_path / "last.ckpt", checkpoint)
    tensors, step, epoch = read_everything(path)
    assert (step, epoch) == (120, 3)
    assert list(tensors) == list(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensors[name], tensor)
    with TorchZip(path) as archive:
        found = archive.content["hyper_parameters"]
        state = archive.content["optimizer_states"][0]["state"][0]
        assert torch.equal(archive.read(state["exp_avg"]), optimizer.state_dict()["state"][0]["exp_avg"])
    assert found.pop("width") == 128 and found.pop("rate") == 0.1
    assert {type(value) for value in found.values()} == {Placeholder}
    assert found["loss"].text == "torch.nn.modules.loss.CrossEntropyLoss"


def test_torch_zip_runs_nothing_of_a_hostile_file(tmp_path):
    marker = tmp_path / "marker"
    evil = Evil(f"touch {marker}")
    path = save(tmp_path / "file.pt", {"state_dict": {"w": torch.ones(1)}, "hyper_parameters": evil, "epoch": evil})
    assert read_everything(path)[0]["w"].tolist() == [1]
    save(path, {"state_dict": {"w": evil, "v": torch.ones(1)}})
    with pytest.raises(CheckpointError, match=r"'w': a needed tensor hides behind result of posix\.system"):
        read_everything(path)
    assert not marker.exists()


WATCHED = """
import json, sys
from pathlib import Path
from lightning_interp.core.errors import CheckpointError
from lightning_interp.sources.checkpoints.torch_save import state_dict_of
from lightning_interp.sources.checkpoints.torch_zip import TorchZip

seen, before = [], set(sys.modules)
names = {"pickle.find_class", "import", "exec", "compile", "os.system", "os.exec", "subprocess.Popen", "marshal.loads"}
sys.addaudithook(lambda event, args: seen.append([event, str(args[:1])]) if event in names else None)
outcomes = []
for path in sys.argv[1:]:
    try:
        with TorchZip(Path(path)) as archive:
            outcomes.append(len(archive.read_all(state_dict_of(archive.content)[0])))
    except CheckpointError as err:
        outcomes.append("refused")
loaded, during = sorted(set(sys.modules) - before), list(seen)
import pickle
pickle.loads(b"ccolorsys\\nrgb_to_hsv\\n.")  # the hook is there: it sees what pickle does
json.dump([outcomes, during, loaded, [event for event, _ in seen]], sys.stdout)
"""


def test_reading_imports_and_resolves_nothing(tmp_path):
    evil = Evil("touch marker")
    unseen = b"cantigravity\nfly\n)Rctkinter.colorchooser\naskcolor\n(tR\x86."
    paths = [
        save(tmp_path / "plain.pt", {"a": torch.ones(2), "b": torch.ones(2, dtype=torch.uint16)}),
        save(tmp_path / "evil.pt", {"state_dict": {"a": torch.ones(2)}, "evil": evil, "net": torch.nn.Linear(1, 1)}),
        save(tmp_path / "hidden.pt", {"a": torch.ones(2), "evil": evil}),
        zipped(tmp_path / "modules.pt", ("a/data.pkl", unseen)),
        zipped(tmp_path / "texts.pt", ("a/data.pkl", b"(dVa\\u1234\nS'\\x41'\ns.")),
        zipped(tmp_path / "damaged.pt", ("a/data.pkl", b"]")),
        zipped(tmp_path / "\u00e9t\u00e9.pt", ("\u00e9t\u00e9/data.pkl", EMPTY)),
    ]
    command = [sys.executable, "-c", WATCHED, *map(str, paths)]
    outcomes, seen, loaded, control = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert outcomes == [2, 1, *["refused"] * 5]
    assert seen == []
    assert loaded == []
    assert {"pickle.find_class", "import"} <= set(control)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ([("a/data.pkl", EMPTY), ("a/data.pkl", EMPTY)], "2 members named 'a/data.pkl'.*Refused"),
        ([("a/data.pkl", EMPTY), ("b/data.pkl", EMPTY)], "2 members named data.pkl, expected one"),
        ([("data.pkl", EMPTY)], "1 members named data.pkl, expected one, in a folder"),
        ([("a/b/data.pkl", EMPTY)], "expected one, in a folder"),
        ([("a/version", b"3")], "0 members named data.pkl"),
        ([("a/data.pkl", EMPTY), ("a/../x", b"")], "'a/../x' has a name that leaves"),
        ([("a/data.pkl", EMPTY), ("../data/0", b"")], "has a name that leaves"),
        ([("a/data.pkl", EMPTY), ("/etc/x", b"")], "no plain path"),
        ([("a/data.pkl", EMPTY), ("a\\x", b"")], "no plain path"),
        ([("a/data.pkl", EMPTY), ("C:/x", b"")], "no plain path"),
        ([("a/data.pkl", EMPTY), ("a/byteorder", b"big")], "byte order 'big'.*Load it where it was saved"),
        ([("a/data.pkl", EMPTY), ("a/byteorder", b"little" * 99)], "more than the 60 that are read"),
        ([("a/data.pkl", EMPTY), ("a/constants.pkl", EMPTY)], r"TorchScript archive.*torch\.jit\.load"),
        ([("a/data.pkl", EMPTY), ("a/code/net.py", b"")], r"TorchScript archive.*torch\.jit\.load"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_torch_zip_refuses_archives_torch_save_does_not_write(tmp_path, members, told):
    with pytest.raises(CheckpointError, match=told):
        TorchZip(zipped(tmp_path / "file.pt", *members))


def test_torch_zip_refuses_compressed_members(tmp_path):
    path = zipped(tmp_path / "file.pt", ("a/data.pkl", EMPTY), ("a/data/0", bytes(10**7)), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match=r"'a/data\.pkl' is compressed, and torch\.save compresses nothing"):
        TorchZip(path)


def changed_directory(path, name, offset, value):
    """Write bytes into a member's entry of the archive's directory."""
    data = bytearray(path.read_bytes())
    entry = data.rindex(name.encode()) - 46
    assert data[entry : entry + 4] == b"PK\x01\x02"
    data[entry + offset : entry + offset + len(value)] = value
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize(
    ("offset", "value", "told"),
    [
        (8, b"\x01\x00", "is encrypted"),
        (10, b"\x63\x00", "is compressed"),
        (20, (2**31).to_bytes(4, "little"), "has 2147483648 bytes in the file and declares 8"),
        (24, (2**31).to_bytes(4, "little"), "has 8 bytes in the file and declares 2147483648"),
        (20, (2**31).to_bytes(4, "little") * 2, "declares 2147483648 bytes, more than there are before the next"),
        (20, (80).to_bytes(4, "little") * 2, "declares 80 bytes, more than there are before the next"),
        (42, bytes(4), "more than there are before the next"),
    ],
    ids=["encrypted", "method", "size in the file", "size", "both sizes", "a little too large", "laid over another"],
)
def test_torch_zip_refuses_directories_that_mislead(tmp_path, offset, value, told):
    path = zipped(tmp_path / "file.pt", ("a/data.pkl", EMPTY), ("a/data/0", bytes(8)))
    with pytest.raises(CheckpointError, match=told):
        TorchZip(changed_directory(path, "a/data/0", offset, value))


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", b"PK\x03\x04" + bytes(100)])
def test_torch_zip_refuses_what_is_no_zip(tmp_path, content):
    path = tmp_path / "file.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"no zip file|damaged|format before"):
        TorchZip(path)


def test_torch_zip_tells_of_the_legacy_format(tmp_path):
    path = save(tmp_path / "file.pt", {"w": torch.ones(1)}, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"format before 1\.6.*save it with a current torch"):
        TorchZip(path)


def test_torch_zip_refuses_a_folder_and_leaves_a_missing_file_to_the_caller(tmp_path):
    with pytest.raises(CheckpointError, match="a folder"):
        TorchZip(tmp_path)
    with pytest.raises(FileNotFoundError):
        TorchZip(tmp_path / "none.pt")


def test_torch_zip_reads_no_pickle_beyond_the_limit(tmp_path):
    with TorchZip(save(tmp_path / "file.pt", list(range(999))), limits=Limits(stream=100)) as archive:  # noqa: SIM117
        with pytest.raises(CheckpointError, match="more than the 100 that are read"):
            archive.content  # noqa: B018


def test_read_refuses_a_damaged_storage(tmp_path):
    path = save(tmp_path / "file.pt", {"w": torch.full((1000,), 7.0), "v": torch.ones(1)})
    data = path.read_bytes()
    path.write_bytes(data.replace(np.float32([7, 7]).tobytes(), np.float32([7, 8]).tobytes(), 1))
    with TorchZip(path) as archive:
        with pytest.raises(CheckpointError, match=r"'file/data/0' differ from their CRC32.*set_crc32_options\(False\)"):
            archive.read(archive.content["w"])
        assert archive.read(archive.content["v"]).tolist() == [1]


def test_read_refuses_a_damaged_pickle(tmp_path):
    path = save(tmp_path / "file.pt", {"a name": 1})
    path.write_bytes(path.read_bytes().replace(b"a name", b"a game"))
    with TorchZip(path) as archive, pytest.raises(CheckpointError, match=r"data\.pkl' differ from their CRC32"):
        archive.content  # noqa: B018


def test_read_refuses_a_storage_that_is_missing_or_of_another_size(tmp_path):
    with TorchZip(save(tmp_path / "file.pt", {"w": torch.ones(2)})) as archive:
        with pytest.raises(CheckpointError, match="storage '0' has 8 bytes, expected 4"):
            archive.read(STORED)
        with pytest.raises(CheckpointError, match=r"storage '\.\./data\.pkl' is missing"):
            archive.read(StoredTensor("../data.pkl", torch.float32, 0, (1,), (1,), 4))


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    content = {"state_dict": {"a": torch.ones(3), "b": torch.ones(2, 2).t()}, "epoch": 1, "path": pathlib.Path("x")}
    return save(tmp_path_factory.mktemp("valid") / "file.pt", content).read_bytes()


@settings(max_examples=500)
@given(st.data())
def test_torch_zip_reads_or_refuses_a_file_changed_anywhere(valid, tmp_path_factory, data):
    changed = bytearray(valid)
    for place, byte in data.draw(st.lists(st.tuples(st.integers(0, len(valid) - 1), st.integers(0, 255)), max_size=6)):
        changed[-place] = byte  # small numbers, which are drawn more often, are places in the directory
    cut = data.draw(st.one_of(st.just(len(valid)), st.integers(0, len(valid))))
    path = tmp_path_factory.getbasetemp() / "changed.pt"
    path.write_bytes(bytes(changed[:cut]))
    try:
        tensors, _, _ = read_everything(path)
    except CheckpointError:
        return
    assert {type(tensor) for tensor in tensors.values()} <= {torch.Tensor}


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6))
def test_torch_zip_reads_or_refuses_any_pickle_with_a_right_checksum(tmp_path_factory, changes):
    stream = bytearray(pickle.dumps(collections.OrderedDict(a={"b": [1, 2.5]}, path=pathlib.PurePath("x")), 2))
    for place, byte in changes:
        stream[place % len(stream)] = byte
    path = zipped(tmp_path_factory.getbasetemp() / "pickled.pt", ("a/data.pkl", bytes(stream)))
    with pytest.raises(CheckpointError):  # at the latest for want of a state dict
        read_everything(path)
