# SPDX-License-Identifier: Apache-2.0
"""Files made to cost more than they weigh: each is refused, or read, within seconds and a gigabyte."""

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

MEASURED = """
import resource, sys
from lightning_interp.core.errors import CheckpointError
from lightning_interp.sources.checkpoints.content import content_of
from lightning_interp.sources.checkpoints.reading import read_checkpoint, read_header
from lightning_interp.sources.checkpoints.search import find_checkpoints

def grown():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

before = grown()
found, refused = find_checkpoints(sys.argv[1:])
for each in found:
    try:
        read_header(each)
        content_of(read_checkpoint(each))
        print("read")
    except CheckpointError as err:
        print("refused:", str(err)[:300])
for each in refused:
    print("refused:", each.text[:300])
print(grown() - before < 1000)
"""
LIMIT_S = 20


def zipped(path: Path, stream: bytes, members: int = 0) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for key in range(members):
            archive.writestr(f"a/data/{key}", b"")
        archive.writestr("a/data.pkl", stream)


def headed(path: Path, header: bytes, body: bytes = b"") -> None:
    path.write_bytes(struct.pack("<Q", len(header)) + header + body)


def stride_0(folder: Path) -> None:
    torch.save({f"w{i}": torch.ones(4).as_strided((8192, 8192), (0, 0)) for i in range(200)}, folder / "step1.pt")


def overlapping(folder: Path) -> None:
    base = torch.ones(2**20)
    torch.save({f"w{i}": base.as_strided((1024, 8192), (1, 100)) for i in range(200)}, folder / "step1.pt")


def tensors(folder: Path) -> None:
    torch.save({f"l{i}.w": torch.full((4,), float(i)) for i in range(20_000)}, folder / "step1.pt")


def memo(folder: Path) -> None:
    kept = b"".join(b"Nr" + struct.pack("<I", i) + b"0" for i in range(1_900_000))
    zipped(folder / "step1.pt", b"\x80\x02" + kept + pickle.dumps({"a": 1}, 2)[2:])


def members(folder: Path) -> None:
    zipped(folder / "step1.pt", pickle.dumps({}, 2), members=100_000)


def numbers(folder: Path) -> None:
    torch.save({"w": torch.ones(3), "x": list(range(2_000_000))}, folder / "step1.pt")


def deflated(folder: Path) -> None:
    with zipfile.ZipFile(folder / "step1.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(2**28))


def many_names(folder: Path) -> None:
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    headed(folder / "step1.safetensors", json.dumps(dict.fromkeys(map(str, range(200_000)), entry)).encode())


def long_header(folder: Path) -> None:
    headed(folder / "step1.safetensors", b"{" + b" " * (90 * 2**20) + b"}")


def lying_shape(folder: Path) -> None:
    header = {"w": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}
    headed(folder / "step1.safetensors", json.dumps(header).encode(), b"0000")


def sparse(folder: Path) -> None:
    for suffix in ("pt", "safetensors"):
        (folder / f"step1.{suffix}").touch()
        os.truncate(folder / f"step1.{suffix}", 2**40)


def long_index(folder: Path) -> None:
    index = {"weight_map": {f"w{i}": f"m{i}.safetensors" for i in range(200_000)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def deep_index(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text("[" * 100_000)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (stride_0, "repeat 3,200 stored bytes to be 53,687,091,200"),
        (overlapping, "repeat 4,194,304 stored bytes"),
        (tensors, "read"),
        (memo, "more than 4000000 opcodes"),
        (members, "No state dict found"),
        (numbers, "read"),
        (deflated, "is compressed"),
        (many_names, "200,000 tensors are in it, more than"),
        (long_header, "a header of 94,371,842 bytes"),
        (lying_shape, "damaged, or no safetensors file"),
        (sparse, "nothing but zeros at its start"),
        (long_index, "no usable `weight_map`"),
        (deep_index, "no JSON"),
    ],
)
def test_what_a_file_can_cost_is_bounded(tmp_path: Path, make, told: str) -> None:
    make(tmp_path)
    command = [sys.executable, "-c", MEASURED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    *answers, within = done.stdout.splitlines()
    assert any(told in answer for answer in answers) and within == "True"


def test_tied_tensors_are_not_taken_for_repeated_ones(tmp_path: Path) -> None:
    shared = torch.randn(3000, 3000)
    torch.save({f"layer{i}.w": shared for i in range(24)}, tmp_path / "step1.pt")
    done = subprocess.run([sys.executable, "-c", MEASURED, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["read", "True"]


def test_every_readable_kind_equals_what_the_libraries_read(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from lightning_interp.sources.checkpoints.reading import read_checkpoint
    from lightning_interp.sources.checkpoints.search import find_checkpoints

    kinds = (torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.int8, torch.bool, torch.complex64)
    content = {str(kind): torch.arange(6.0).reshape(2, 3).to(kind) for kind in kinds}
    torch.save(content, tmp_path / "step1.pt")
    real = {name: each for name, each in content.items() if not each.is_complex()}
    save_file(real, tmp_path / "step2.safetensors")
    (packed, flat), _ = find_checkpoints([str(tmp_path)])
    for found, expected in (
        (packed, torch.load(io.BytesIO((tmp_path / "step1.pt").read_bytes()))),
        (flat, load_file(flat.where)),
    ):
        read = read_checkpoint(found)
        assert read.keys() == expected.keys()
        assert all(torch.equal(read[name].view(torch.uint8), each.view(torch.uint8)) for name, each in expected.items())
