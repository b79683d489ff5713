# SPDX-License-Identifier: Apache-2.0
import os
import shutil

from lightning_interp.store.file_identity import ChangedFiles, file_identity, stamp


def test_a_file_is_read_again_once_it_grew_or_was_replaced(tmp_path):
    files, path = ChangedFiles(tmp_path), tmp_path / "a"
    seen = [files.changed("a")]
    path.write_text("1")
    os.utime(path, ns=(0, 0))
    seen += [files.changed("a"), files.changed("a")]
    path.write_text("12")
    os.utime(path, ns=(0, 0))  # as a clock too coarse to tell the two writes apart
    seen += [files.changed("a"), files.changed("a")]
    (tmp_path / "b").write_text("34")
    os.utime(tmp_path / "b", ns=(0, 0))
    (tmp_path / "b").replace(path)
    seen += [files.changed("a"), files.changed("a")]
    assert seen == [False, True, False, True, False, True, False]


def test_a_stamp_outlives_a_copy_and_an_identity_does_not(tmp_path):
    (tmp_path / "a").write_text("1")
    shutil.copy2(tmp_path / "a", tmp_path / "b")
    assert stamp([tmp_path / "a"]) == stamp([str(tmp_path / "b")])
    assert file_identity(tmp_path / "a") != file_identity(tmp_path / "b")


def test_what_cannot_be_asked_has_neither(tmp_path):
    assert file_identity(tmp_path / "gone") is None
    assert stamp([tmp_path, "s3://bucket/step1.pt"]) is None
