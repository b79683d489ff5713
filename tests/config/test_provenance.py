# SPDX-License-Identifier: Apache-2.0
"""Where a run came from: the commit and whether files differ from it, the command line without secrets, the seeds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lightning_interp.config import provenance
from lightning_interp.config.git_state import files_changed, head_of
from lightning_interp.config.masked_command import masked
from lightning_interp.config.provenance import changes_of, provenance_now


def git(folder: Path, *command: str) -> str:
    """Git as its user has it, without anything of this machine's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *who, *command], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit on `main`."""
    root = tmp_path / "project"
    root.mkdir()
    git(root, "init", "--quiet")
    (root / "train.py").write_text("print(1)\n")
    git(root, "add", "train.py")
    git(root, "commit", "--quiet", "-m", "first")
    return root


def test_head_is_what_git_says_in_every_form_of_reference(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    (repository / "deep").mkdir()
    head = head_of(repository / "deep")
    assert head is not None and (head.root, head.commit, head.branch) == (repository, commit, "main")
    git(repository, "pack-refs", "--all")
    git(repository, "worktree", "add", "--quiet", "-b", "side/line", "../other")
    other = head_of(repository.parent / "other")
    assert (head_of(repository), other and (other.commit, other.branch)) == (head, (commit, "side/line"))
    git(repository, "checkout", "--quiet", "--detach")
    detached = head_of(repository)
    assert detached is not None and (detached.commit, detached.branch) == (commit, None)


def test_changes_are_those_of_known_files_also_if_staged(repository: Path) -> None:
    (repository / "notes.txt").write_text("of no commit")
    assert files_changed(repository) is False
    (repository / "train.py").write_text("print(2)\n")
    assert files_changed(repository) is True
    git(repository, "add", "train.py")
    assert files_changed(repository) is True


def test_a_touched_file_is_no_change_and_the_index_stays_as_it_was(repository: Path) -> None:
    before = (repository / ".git" / "index").read_bytes()
    os.utime(repository / "train.py", (1, 1))
    assert files_changed(repository) is False
    assert (repository / ".git" / "index").read_bytes() == before


def test_nothing_that_a_repository_names_is_run(repository: Path) -> None:
    marks = repository.parent / "marks"
    marks.mkdir()
    (repository / ".gitattributes").write_text("*.py filter=evil\n")
    git(repository, "add", ".gitattributes")
    git(repository, "commit", "--quiet", "-m", "second")
    for name in ("core.fsmonitor", "filter.evil.clean"):
        git(repository, "config", name, f"touch {marks}/{name}; cat")
    hook = repository / ".git" / "hooks" / "post-index-change"
    hook.write_text(f"#!/bin/sh\ntouch {marks}/hook\n")
    hook.chmod(0o755)
    (repository / "train.py").write_text("print(2)\n")
    assert files_changed(repository) is True
    assert list(marks.iterdir()) == []
    git(repository, "status", "--porcelain")
    assert {"core.fsmonitor", "filter.evil.clean"} <= {path.name for path in marks.iterdir()}  # as git itself would have


def test_a_filter_that_cannot_be_switched_off_is_no_answer(repository: Path) -> None:
    (repository / ".gitattributes").write_text("*.py filter=a=b\n")
    mark = repository.parent / "mark"
    git(repository, "config", "filter.a=b.clean", f"touch {mark}; cat")
    (repository / "train.py").write_text("print(2)\n")
    assert files_changed(repository) is None and not mark.exists()


def test_no_repository_and_no_git_are_no_answer(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert head_of(tmp_path) is None and files_changed(tmp_path) is None
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/../../../../secret")
    found = head_of(tmp_path)
    assert found is not None and found.commit is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert files_changed(repository) is None


def test_it_comes_from_the_repository_of_the_main_script(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(repository / "train.py"), raising=False)
    monkeypatch.setattr(sys, "argv", ["train.py", "--token", "abc"])
    found = provenance_now()
    assert (found.repository, found.commit) == (str(repository), git(repository, "rev-parse", "HEAD"))
    assert found.command == ("train.py", "--token", "***") and changes_of(found) is False
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "/usr/lib/site-packages/tool.py")
    monkeypatch.chdir(repository)
    assert provenance_now().repository == str(repository)


def test_seeds_are_read_and_no_random_state_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    monkeypatch.setenv("PYTHONHASHSEED", "random")
    torch.manual_seed(123)
    torch.rand(3)
    before = torch.get_rng_state()
    assert provenance_now().seeds == {"torch": 123, "PL_GLOBAL_SEED": 7}
    assert torch.equal(torch.get_rng_state(), before)


def test_a_folder_that_is_gone_is_no_reason_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> Path:
        raise FileNotFoundError

    monkeypatch.setattr(provenance.Path, "cwd", gone)
    assert provenance_now().directory == ""


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("--api-key=abc", "--api-key=***"),
        ("--api_key abc --lr 1", "--api_key *** --lr 1"),
        ("--wandbApiKey=abc", "--wandbApiKey=***"),
        ("+logger.password=a:b=c", "+logger.password=***"),
        ("--env WANDB_API_KEY=abc", "--env WANDB_API_KEY=***"),
        ("--hf-token --verbose", "--hf-token --verbose"),
        ("--db postgres://me:pw@host/db", "--db postgres://***@host/db"),
        ("--url https://host/x?access_token=abc&y=1", "--url https://host/x?access_token=***"),
        ("--model hf_" + "a" * 34, "--model ***"),
        ("positional " + "0af1" * 10, "positional ***"),
        ("--tokenizer=gpt2 --max_steps=100 trainer.lr=1e-3", "--tokenizer=gpt2 --max_steps=100 trainer.lr=1e-3"),
        ("data=C:/keys/x --monkey=3", "data=C:/keys/x --monkey=3"),
    ],
)
def test_secrets_of_a_command_line_are_masked_and_the_rest_is_kept(words: str, kept: str) -> None:
    assert " ".join(masked(words.split(" "))) == kept


def test_secrets_inside_quoted_words_are_masked_to_their_end() -> None:
    assert masked(['{"lr": 1, "api_key": "a b c"}']) == ('{"lr": 1, "api_key": "***',)
    assert masked(["Authorization: Bearer a.b.c"]) == ("Authorization: ***",)


def test_long_and_unprintable_words_are_kept_as_text() -> None:
    long, odd = masked(["x" * 1000, "na\udce9"])
    assert len(long) == 501 and odd == "na\\udce9"
    assert len(masked(["a"] * 500)) == 201
