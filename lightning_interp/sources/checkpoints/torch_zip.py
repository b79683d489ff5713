# SPDX-License-Identifier: Apache-2.0
"""Zip files of `torch.save`: their structure without their tensors, and tensors read one storage at a time."""

import codecs
import struct
import sys
import zipfile
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from torch import Tensor

from lightning_interp.core.errors import CheckpointError
from lightning_interp.core.recycled_memory import RecycledMemory
from lightning_interp.sources.checkpoints.pickle_reader import Limits, StoredTensor, read_pickle
from lightning_interp.store.crc32 import crc32

_CHUNK = 2**20  # bytes: checksummed and copied while they are in the processor's cache
_LOCAL_HEADER = 30  # bytes before the name of each member
_SIGNATURE = b"PK\x03\x04"  # of that header
_SHOWN = 60
_SEEN = 64
_LEGACY = "torch's format before 1.6: load it where you trust it, and save it with a current torch."
_OTHERS = {
    b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.": _LEGACY,
    b"\x80": "a pickle that torch.save has not written. Load it where you trust it; save its state dict with torch.save.",
    b"version https://git-lfs": "a pointer of Git LFS in the place of the file. Fetch the file itself: git lfs pull.",
    b"\x1f\x8b": "compressed by gzip. Unpack it first.",
    b"\x89HDF": "an HDF5 file, such as Keras writes. Convert it to a state dict, and save that with torch.save.",
    b"<": "a web page in the place of the file. Download the file itself.",
}
"""What files that are no zip files begin with, and what to do about them."""

# Imported when first used, for names of members that are not marked as UTF-8.
codecs.lookup("cp437")


class TorchZip:
    """A checkpoint file of `torch.save`, open until the end of a `with` block. Nothing it names is resolved or called.

    Raises:
        CheckpointError: It is no zip file of `torch.save`, or one made to mislead.
        FileNotFoundError: There is no such file.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path, *, limits: Limits | None = None) -> None:
        self.path = path
        self._limits = limits or Limits()
        if path.is_dir():
            raise CheckpointError(f"{path}: a folder, expected a file of torch.save. Name the file in it.")
        if not path.is_file() and path.exists():
            raise CheckpointError(f"{path}: no file with content of its own (a pipe or a device).")
        self._file = path.open("rb")
        try:
            self._archive = _opened(path, self._file)
            self._members = _checked_members(path, self._archive)
            self._root = _root(path, self._members)
            self._check_byteorder()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "TorchZip":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; tensors read from it stay."""
        self._archive.close()
        self._file.close()

    @cached_property
    def content(self) -> object:
        """What was saved: plain values, with `StoredTensor` and `Placeholder` in the place of everything else."""
        stream = self._small(f"{self._root}/data.pkl", limit=self._limits.stream)
        return read_pickle(stream, source=str(self.path), limits=self._limits)

    def crc32s(self) -> dict[str, int]:
        """CRC32 of every storage by its key, as the file's directory has them; no storage is read."""
        folder = f"{self._root}/data/"
        return {name.removeprefix(folder): each.CRC for name, each in self._members.items() if name.startswith(folder)}

    def read(self, stored: StoredTensor) -> Tensor:
        """One tensor, its storage checked by its CRC32.

        Raises:
            CheckpointError: The storage is missing, of another size, or damaged.
        """
        return self.read_all({"": stored})[""]

    def read_all(self, stored: Mapping[str, StoredTensor], memory: RecycledMemory | None = None) -> dict[str, Tensor]:
        """Tensors by name; each storage is read once, and tensors of one storage share its memory.

        Raises:
            CheckpointError: A storage is missing, of another size, or damaged.
        """
        memory = memory or RecycledMemory()
        storages: dict[str, Tensor] = {}
        tensors = {}
        for name, each in stored.items():
            member = self._storage_member(each)
            if each.key not in storages:
                storages[each.key] = self._bytes(member, memory)
            whole = each.nbytes // each.dtype.itemsize * each.dtype.itemsize
            elements = storages[each.key][:whole].view(each.dtype)
            tensors[name] = elements.as_strided(each.size, each.stride, each.offset)
        return tensors

    def _storage_member(self, stored: StoredTensor) -> zipfile.ZipInfo:
        member = self._members.get(f"{self._root}/data/{stored.key}")
        if member is None:
            raise _damaged(self.path, f"storage {shown(stored.key)} is missing")
        if member.file_size != stored.nbytes:
            reason = f"storage {shown(stored.key)} has {member.file_size} bytes, expected {stored.nbytes}"
            raise _damaged(self.path, reason)
        return member

    def _bytes(self, member: zipfile.ZipInfo, memory: RecycledMemory) -> Tensor:
        """Content of a member, in memory that was not written twice, checked by its CRC32.

        Members are stored as they are, so that no more of zipfile is needed than the directory it has checked.
        """
        try:
            target = memory.take(member.file_size)
            view, check = target.numpy().data, 0
            self._file.seek(self._content_of(member))
            for start in range(0, member.file_size, _CHUNK):
                part = view[start : start + _CHUNK]
                if self._file.readinto(part) != len(part):
                    raise EOFError("it ends early")
                check = crc32(part, check)
            if check != member.CRC:
                raise zipfile.BadZipFile("Bad CRC-32")
        except Exception as err:  # hostile bytes cause errors of many kinds, too little memory one of torch's
            raise _unreadable(self.path, member, err) from err
        return target

    def _content_of(self, member: zipfile.ZipInfo) -> int:
        """Where the bytes of a member begin: behind its own header, whose name must be the directory's."""
        self._file.seek(member.header_offset)
        header = self._file.read(_LOCAL_HEADER)
        if len(header) < _LOCAL_HEADER or header[:4] != _SIGNATURE:
            raise zipfile.BadZipFile("Bad magic number for file header")
        name_length, extra_length = struct.unpack("<HH", header[26:])
        name = self._file.read(name_length)
        if name not in (member.orig_filename.encode("utf-8"), member.orig_filename.encode("cp437", "replace")):
            raise zipfile.BadZipFile("File name in directory and header differ")
        return member.header_offset + _LOCAL_HEADER + int(name_length) + int(extra_length)

    def _small(self, name: str, *, limit: int) -> bytes:
        member = self._members[name]
        if member.file_size > limit:
            raise CheckpointError(
                f"{self.path}: {shown(name)} has {member.file_size} bytes, more than the {limit} that are read. "
                "Save the state dict alone."
            )
        return self._bytes(member, RecycledMemory()).numpy().tobytes()

    def _check_byteorder(self) -> None:
        name = f"{self._root}/byteorder"
        order = self._small(name, limit=_SHOWN).decode("latin-1") if name in self._members else "little"
        if order != sys.byteorder:
            raise CheckpointError(
                f"{self.path}: its numbers have byte order {order!r}, this machine's is {sys.byteorder!r}. "
                "Load it where it was saved and save it on a machine like this one."
            )


def shown(text: object) -> str:
    """A name from the file for a message, with control characters escaped."""
    return repr(text[:_SHOWN]) if isinstance(text, str) else f"<{type(text).__name__}>"


def _opened(path: Path, file: BinaryIO) -> zipfile.ZipFile:
    start = file.read(_SEEN)
    if not start.startswith(_SIGNATURE):
        what = next((text for magic, text in _OTHERS.items() if start.startswith(magic)), None)
        raise CheckpointError(
            f"{path}: {what or 'no zip file: an upload or download cut short, or something else. Get it again.'}"
        )
    try:
        return zipfile.ZipFile(file)
    except Exception as err:  # zipfile raises errors of many kinds for hostile bytes
        raise _damaged(path, f"its directory cannot be read: {str(err)[:_SHOWN]!r}") from err


def _checked_members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Members by name, after every check that needs only the directory."""
    members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    counts = Counter(member.filename for member in members)
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice is not None:
        raise _misleading(path, f"it has {counts[twice]} members named {shown(twice)}")
    ends = [*(member.header_offset for member in members[1:]), archive.start_dir]
    for member, end in zip(members, ends, strict=True):
        if reason := _complaint(member, end):
            raise _misleading(path, f"member {shown(member.orig_filename)} {reason}")
    return {member.filename: member for member in members}


def _complaint(member: zipfile.ZipInfo, end: int) -> str | None:
    """What is wrong with a member that must end before a place in the file."""
    name = member.orig_filename
    if member.flag_bits & 0x2041:
        return "is encrypted"
    if member.compress_type != zipfile.ZIP_STORED:
        return "is compressed, and torch.save compresses nothing"
    if member.compress_size != member.file_size:
        return f"has {member.compress_size} bytes in the file and declares {member.file_size}"
    if member.header_offset < 0 or member.header_offset + _LOCAL_HEADER + len(name) + member.file_size > end:
        return f"declares {member.file_size} bytes, more than there are before the next"
    if name != member.filename or name.startswith("/") or "\\" in name or ":" in name.split("/")[0][1:2]:
        return "has a name that is no plain path"
    return "has a name that leaves the archive" if {"..", "."} & set(name.split("/")) else None


def _root(path: Path, members: Mapping[str, zipfile.ZipInfo]) -> str:
    """The one folder everything in the archive lies in."""
    pickles = [name for name in members if name.rsplit("/", 1)[-1] == "data.pkl"]
    if len(pickles) != 1 or pickles[0].count("/") != 1:
        raise CheckpointError(
            f"{path}: {len(pickles)} members named data.pkl, expected one, in a folder. This is no file of torch.save."
        )
    root = pickles[0].removesuffix("/data.pkl")
    if f"{root}/constants.pkl" in members or any(name.startswith(f"{root}/code/") for name in members):
        raise CheckpointError(
            f"{path}: a TorchScript archive, a program rather than a checkpoint. "
            "Load it with torch.jit.load where you trust it and save its state_dict() with torch.save."
        )
    return root


def _misleading(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path}: {reason}. Refused: torch.save writes no such file. Save the state dict again with it.")


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path}: damaged: {reason}. Get the file again, or restore it from a copy.")


def _unreadable(path: Path, member: zipfile.ZipInfo, err: Exception) -> CheckpointError:
    name, reason = shown(member.filename), repr(str(err)[:200])
    if "CRC" in reason:
        return CheckpointError(
            f"{path}: the bytes of {name} differ from their CRC32. The file is damaged, "
            "or it was saved under torch.serialization.set_crc32_options(False): get it again, or save it with checksums."
        )
    return CheckpointError(f"{path}: the {member.file_size} bytes of {name} cannot be read ({reason}). Get the file again.")
