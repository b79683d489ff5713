# SPDX-License-Identifier: Apache-2.0
"""What leaves the repository: links that work elsewhere, files of the source distribution, requirements said by hand."""

import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PROSE = re.sub(r"```.*?```|`[^`]*`", "", README, flags=re.DOTALL)
DEFINED = dict(re.findall(r"^\[([^\]]+)\]: (\S+)$", PROSE, flags=re.MULTILINE))
"""Targets of links by their label in small letters."""
BY_ITSELF = {"pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"}
"""What setuptools takes into a source distribution unasked."""
OF_GIT = {".gitignore", ".pre-commit-config.yaml"}


def folders_of_home() -> tuple[str, str]:
    """Addresses under which the home shows a file of the repository: as a page, and as it is."""
    home: str = PROJECT["urls"]["Homepage"]
    return f"{home}/blob/main/", f"{home.replace('//github.com/', '//raw.githubusercontent.com/')}/main/"


def is_file_at_home(url: str) -> bool:
    return any((REPOSITORY / url.removeprefix(folder)).is_file() for folder in folders_of_home() if url.startswith(folder))


@pytest.mark.parametrize("name", ["Documentation", "Changelog"])
def test_project_urls_lead_to_files(name: str) -> None:
    assert is_file_at_home(PROJECT["urls"][name])


def test_project_urls_have_one_home() -> None:
    assert PROJECT["urls"]["Issues"] == PROJECT["urls"]["Homepage"] + "/issues"


def test_readme_links_lead_to_files_from_anywhere() -> None:
    """The long description on a package index stands in no folder, so that a relative link leads nowhere there."""
    assert not [url for url in re.findall(r"\]\(([^)]+)\)", PROSE) if not url.startswith("https://")]
    assert DEFINED and not [url for url in DEFINED.values() if not is_file_at_home(url)]


def test_readme_labels_and_targets_match() -> None:
    body = re.sub(r"^\[[^\]]+\]: .*$", "", PROSE, flags=re.MULTILINE)
    pictures = re.findall(r"!\[[^\]]*\]\[([^\]]+)\]", body)
    labels = re.findall(r"\[([^\]]+)\](?!\()", re.sub(r"!\[[^\]]*\]\[[^\]]+\]", "", body))
    assert {label.lower() for label in [*pictures, *labels] if not label[0].isdigit()} == set(DEFINED)


def test_readme_images_are_shown_as_they_are() -> None:
    pictures = re.findall(r"!\[[^\]]*\]\[([^\]]+)\]", PROSE)
    assert pictures and all(DEFINED[name].startswith(folders_of_home()[1]) for name in pictures)


def test_readme_lists_what_no_deps_leaves_out() -> None:
    start = README.index("pip install 'tensorly")
    listed = set(re.findall(r"'([^']+)'", README[start : README.index("```", start)]))
    left_out = {each for each in PROJECT["dependencies"] if re.split(r"[<>=!~;\[ ]", each)[0] not in ("torch", "lightning")}
    assert listed == left_out


def in_source_distribution(name: str) -> bool:
    """Whether the rules of MANIFEST.in take a file."""
    for line in (REPOSITORY / "MANIFEST.in").read_text(encoding="utf-8").splitlines():
        match line.split():
            case ["include", *patterns] if any(fnmatch(name, pattern) for pattern in patterns):
                return True
            case ["recursive-include", folder, *patterns]:
                inside = name.startswith(f"{folder}/")
                if inside and any(fnmatch(name.rsplit("/", 1)[1], pattern) for pattern in patterns):
                    return True
    return False


@pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="only a clone knows which files are in the repository")
def test_source_distribution_holds_every_file() -> None:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    tracked = set(filter(None, listing.split("\0"))) - BY_ITSELF - OF_GIT
    assert not sorted(name for name in tracked if not in_source_distribution(name))
