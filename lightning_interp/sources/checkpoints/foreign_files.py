# SPDX-License-Identifier: Apache-2.0
"""Files that are no checkpoint, or packed ones, told by their first bytes or their names: what they are, and what to do."""

import os
import re
from pathlib import Path

from lightning_interp.core.errors import CheckpointError

_LOOKED_AT = 512
_DIRECTORY = 2**16  # bytes at the end of a zip file in which its directory is looked for
_ENTRY = 46  # bytes of an entry of it before the name

_PACKED = re.compile(r"\.(?:ckpt|pt|pth|bin|safetensors)(?:\.tar)?\.(gz|tgz|bz2|xz|zst|zip|7z|lz4)$", re.IGNORECASE)
_UNPACK = {"gz": "gunzip", "bz2": "bunzip2", "xz": "unxz", "zst": "unzstd", "zip": "unzip", "lz4": "unlz4", "7z": "7z x"}

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (
        b"version https://git-lfs.github.com/spec/",
        "a pointer of Git LFS: the file itself was not fetched. Run `git lfs pull` in its repository",
    ),
    (
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19",
        "no zip file: torch's format before 1.6, which is not read. Load it with torch where you trust it and save it with "
        "a current one",
    ),
    (b"\x1f\x8b", "compressed with gzip. Unpack it (gunzip, or tar xzf) and give the result"),
    (b"BZh", "compressed with bzip2. Unpack it (bunzip2) and give the result"),
    (b"\xfd7zXZ\x00", "compressed with xz. Unpack it (unxz) and give the result"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd. Unpack it (unzstd) and give the result"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive. Unpack it (7z x) and give the result"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras, h5py), which is not read. Save the weights as safetensors"),
    (b"\x93NUMPY", "an array of NumPy (.npy), no checkpoint. Save the weights as safetensors"),
    (b"GGUF", "a GGUF file (llama.cpp), whose weights are quantized and not read. Give the checkpoint it was made from"),
    (b"%PDF", "a PDF document, no checkpoint"),
)
_PAGE = re.compile(rb"^\s*<(?:!doctype|html|\?xml)", re.IGNORECASE)


def refuse_foreign(path: Path) -> None:
    """Refuse a file that is something else than its name says.

    Raises:
        CheckpointError: With what it is, and what to do.
        FileNotFoundError: There is no such file.
    """
    if text := what_it_is(path):
        raise CheckpointError(f"{path}: {text}.")


def what_it_is(path: str | os.PathLike[str]) -> str:
    """What a file is that is no checkpoint, with what to do; empty for one that may be one, or cannot be opened here."""
    if not Path(path).is_file():
        return ""
    with Path(path).open("rb") as file:
        start = file.read(_LOOKED_AT)
    if not start:
        return "damaged: an empty file, of a save or a download that was cut short. Get it again"
    if not start.strip(b"\0"):
        return "damaged: nothing but zeros at its start, of a save or a download that was cut short. Get it again"
    if start.startswith(b"PK") and (text := _program(path)):
        return text
    if start[257:262] == b"ustar":
        return "a tar archive. Unpack it (tar xf) and give the result"
    if _PAGE.match(start):
        return "a web page: the download brought the page about the file. Get the file itself"
    return next((text for beginning, text in _BEGINNINGS if start.startswith(beginning)), "")


def _program(path: str | os.PathLike[str]) -> str:
    """What the directory at the end of a zip file says of a file that is none of `torch.save`."""
    with Path(path).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _DIRECTORY))
        end = file.read(_DIRECTORY)
    names = []
    for entry in re.finditer(rb"PK\x01\x02", end):
        head = end[entry.start() : entry.start() + _ENTRY]
        if len(head) == _ENTRY:
            first = entry.start() + _ENTRY
            names.append(end[first : first + int.from_bytes(head[28:30], "little")])
    if any(re.match(rb"[^/]+/(?:code/|constants\.pkl$)", name) for name in names):
        return (
            "a TorchScript archive, a program rather than a checkpoint. Load it with torch.jit.load where you trust it and "
            "save its state_dict() with torch.save"
        )
    if names and all(name.endswith(b".npy") for name in names):
        return "arrays of NumPy (.npz), which are not read. Save the weights as safetensors"
    return ""


def packed_name(name: str) -> str:
    """What the name of a packed checkpoint says, with what to do; empty for other names.

    >>> packed_name("step_1.pt.gz")
    'a packed checkpoint. Unpack it (gunzip) and give the result'
    """
    match = _PACKED.search(name)
    return f"a packed checkpoint. Unpack it ({_UNPACK.get(match[1].lower(), 'tar xf')}) and give the result" if match else ""
