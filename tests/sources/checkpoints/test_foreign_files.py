# SPDX-License-Identifier: Apache-2.0
import gzip
import io
import tarfile

import numpy as np
import pytest
import torch
from torch import nn

from lightning_interp.core.errors import CheckpointError
from lightning_interp.sources.checkpoints.foreign_files import what_it_is
from lightning_interp.sources.checkpoints.reading import read_header
from lightning_interp.sources.checkpoints.search import find_checkpoints

WHOLE = {"a": torch.ones(2, 2)}


def tar(content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("step_1.pt")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def saved(**options) -> bytes:
    file = io.BytesIO()
    torch.save(WHOLE, file, **options)
    return file.getvalue()


def scripted() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), file)
    return file.getvalue()


def arrays() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.ones(3))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "git lfs pull"),
        (gzip.compress(saved()), "gunzip"),
        (tar(saved()), "tar xf"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "HDF5"),
        (b"", "an empty file"),
        (bytes(4096), "nothing but zeros"),
        (saved(_use_new_zipfile_serialization=False), "before 1.6"),
        pytest.param(None, "TorchScript", marks=pytest.mark.filterwarnings("ignore")),
        (arrays(), "npz"),
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_other_files_are_named_as_what_they_are(tmp_path, content, told, suffix):
    path = tmp_path / f"step_1{suffix}"
    path.write_bytes(scripted() if content is None else content)
    (found,), _ = find_checkpoints([str(tmp_path)])
    with pytest.raises(CheckpointError, match=told) as caught:
        read_header(found)
    assert str(path) in str(caught.value)


def test_checkpoints_themselves_are_nothing_else(tmp_path):
    for place, options in enumerate(({}, {"pickle_protocol": 5})):
        (tmp_path / f"{place}.pt").write_bytes(saved(**options))
        assert what_it_is(tmp_path / f"{place}.pt") == ""


def test_torch_files_with_the_old_ending_tar_are_read(tmp_path):
    (tmp_path / "checkpoint_5.pth.tar").write_bytes(saved())
    (found,), _ = find_checkpoints([str(tmp_path)])
    assert found.named_step == 5
    assert read_header(found).shapes == {"a": (2, 2)}


def test_packed_checkpoints_in_a_folder_are_named(tmp_path):
    (tmp_path / "step_1.pt.gz").write_bytes(gzip.compress(saved()))
    found, told = find_checkpoints([str(tmp_path)])
    assert not found and [each.named_step for each in told] == [1]
    assert "gunzip" in told[0].text
