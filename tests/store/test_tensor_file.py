# SPDX-License-Identifier: Apache-2.0
import errno
import threading

import pytest
import torch

from lightning_interp.core.errors import CorruptSnapshotError
from lightning_interp.store.tensor_file import checksum, read_metadata, read_tensors, write_tensors

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_write_tensors_round_trips_every_dtype(tmp_path, dtype):
    tensor = torch.tensor([[0, 1], [1, 0]]).to(dtype)
    write_tensors(tmp_path / "t", {"x": tensor}, {})
    back = read_tensors(tmp_path / "t").tensors["x"]
    assert back.dtype == dtype
    assert torch.equal(back.view(torch.uint8), tensor.view(torch.uint8))


@pytest.mark.parametrize(
    "tensor",
    [torch.tensor(3.0), torch.zeros(0, 4), torch.arange(6.0).view(2, 3).t(), torch.tensor([float("nan"), float("inf")])],
    ids=["0-dim", "empty", "transposed", "not finite"],
)
def test_write_tensors_round_trips_unusual_tensors(tmp_path, tensor):
    write_tensors(tmp_path / "t", {"x": tensor}, {})
    torch.testing.assert_close(read_tensors(tmp_path / "t").tensors["x"], tensor, rtol=0, atol=0, equal_nan=True)


def test_write_tensors_round_trips_metadata(tmp_path):
    metadata = {"step": 5, "nested": {"a": [1, None, "text"]}, "share": 0.1}
    write_tensors(tmp_path / "t", {"x": torch.ones(1)}, metadata)
    assert read_tensors(tmp_path / "t").metadata == metadata


def test_write_tensors_returns_the_size_of_the_file(tmp_path):
    assert write_tensors(tmp_path / "t", {"x": torch.ones(9)}, {}) == (tmp_path / "t").stat().st_size


def test_checksum_does_not_depend_on_the_layout_in_memory():
    tensor = torch.arange(6.0).view(2, 3)
    assert checksum(tensor.t()) == checksum(tensor.t().contiguous())


def test_read_tensors_names_the_tensor_of_a_flipped_byte(tmp_path):
    path = tmp_path / "t"
    write_tensors(path, {"first": torch.zeros(8), "second": torch.zeros(8)}, {})
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # tensors lie in the order of their names: the last byte is the second's
    path.write_bytes(bytes(data))
    with pytest.raises(CorruptSnapshotError, match=r"the bytes of 'second' differ from their CRC32.*Restore the file"):
        read_tensors(path)


def test_read_tensors_checks_only_what_it_reads(tmp_path):
    path = tmp_path / "t"
    write_tensors(path, {"first": torch.zeros(8), "second": torch.zeros(8)}, {})
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert list(read_tensors(path, ["first"]).tensors) == ["first"]


@pytest.mark.parametrize("keep", [0, 4, 40, -1], ids=["nothing", "half a length", "half a header", "all but a byte"])
def test_read_tensors_refuses_a_truncated_file(tmp_path, keep):
    path = tmp_path / "t"
    write_tensors(path, {"x": torch.ones(64)}, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CorruptSnapshotError, match="damaged"):
        read_tensors(path)


def test_read_tensors_refuses_a_file_that_is_gone(tmp_path):
    with pytest.raises(CorruptSnapshotError, match="damaged"):
        read_tensors(tmp_path / "t")


def test_read_tensors_refuses_tensors_without_a_checksum(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.ones(2)}, tmp_path / "t")
    with pytest.raises(CorruptSnapshotError, match="'x' differ"):
        read_tensors(tmp_path / "t")


def test_read_tensors_names_what_there_is_where_a_name_is_missing(tmp_path):
    write_tensors(tmp_path / "t", {"a": torch.ones(1), "b": torch.ones(1)}, {})
    with pytest.raises(KeyError, match="no tensor named 'c'; it holds a, b"):
        read_tensors(tmp_path / "t", ["c"])


def test_read_metadata_reads_no_tensor(tmp_path):
    write_tensors(tmp_path / "t", {"x": torch.zeros(8)}, {"step": 4})
    path = tmp_path / "t"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert read_metadata(path)["step"] == 4


def test_read_metadata_refuses_a_truncated_file(tmp_path):
    (tmp_path / "t").write_bytes(b"\x08")
    with pytest.raises(CorruptSnapshotError):
        read_metadata(tmp_path / "t")


def test_write_tensors_leaves_nothing_behind_where_it_fails(tmp_path):
    (tmp_path / "t").mkdir()  # a folder cannot be replaced by a file
    with pytest.raises(OSError, match="could not be written"):
        write_tensors(tmp_path / "t", {"x": torch.ones(1)}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_write_tensors_never_shows_a_partial_file(tmp_path):
    path, done, seen = tmp_path / "t", threading.Event(), []

    def watch() -> None:
        while not done.is_set():
            if path.exists():
                seen.append(float(read_tensors(path).tensors["x"][0]))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(20):
        write_tensors(path, {"x": torch.full((50_000,), float(number))}, {})
    done.set()
    watcher.join()
    # Every look found a whole file (a torn one raises in the thread, which pytest reports), versions in order.
    assert seen == sorted(seen)


def test_a_file_that_cannot_be_written_keeps_the_number_that_the_system_gave(tmp_path):
    with pytest.raises(OSError, match="could not be written") as refused:
        write_tensors(tmp_path / "no" / "folder", {"a": torch.zeros(1)}, {})
    assert refused.value.errno == errno.ENOENT
