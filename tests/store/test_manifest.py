# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace

import pytest

from lightning_interp.core.errors import RunError
from lightning_interp.store import Attempt, Provenance, holds_run, read_manifest, write_manifest
from lightning_interp.store.layout import MANIFEST


def test_write_manifest_round_trips(run_dir, manifest):
    write_manifest(run_dir, manifest.resumed(40))
    assert read_manifest(run_dir) == manifest.resumed(40)


ORIGIN = Provenance(1, ("train.py", "--token", "***"), "/work", "/work", "a" * 40, "main", True, {"torch": 3})


def test_provenance_round_trips_where_earlier_readers_look_past_it(run_dir, manifest):
    before = json.loads((run_dir / MANIFEST).read_text())
    known = replace(manifest, provenance=(Provenance(), ORIGIN))
    write_manifest(run_dir, known)
    assert read_manifest(run_dir) == known
    after = json.loads((run_dir / MANIFEST).read_text())
    assert after.keys() == before.keys()
    assert after.pop("configuration").keys() == {*before.pop("configuration"), "provenance"} and after == before


@pytest.mark.parametrize(
    "odd", [3, "text", {"attempt": 0}, [3], [{"attempt": 0}], [{"attempt": "x", "command": [], "seeds": {}}], [None]]
)
def test_provenance_of_another_form_is_left_out(run_dir, manifest, odd):
    content = json.loads((run_dir / MANIFEST).read_text())
    content["configuration"]["provenance"] = odd
    (run_dir / MANIFEST).write_text(json.dumps(content))
    assert read_manifest(run_dir) == manifest


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        (Provenance(), ""),
        (ORIGIN, "commit aaaaaaaaaaaa (main) and changes that are not in it"),
        (replace(ORIGIN, branch=None, changed=False), "commit aaaaaaaaaaaa"),
        (replace(ORIGIN, changed=None), "commit aaaaaaaaaaaa (main), changes to it not known"),
    ],
)
def test_code_says_what_is_known_of_the_commit(origin, words):
    assert origin.code == words


def test_read_manifest_says_when_a_folder_is_no_run(tmp_path):
    with pytest.raises(RunError, match=r"not a run directory \(no run.json\). Give the folder the monitor printed"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("schema", [0, 2, None])
def test_read_manifest_refuses_another_schema(run_dir, schema):
    content = json.loads((run_dir / MANIFEST).read_text()) | {"schema": schema}
    (run_dir / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(RunError, match=f"schema {schema}, this version reads 1"):
        read_manifest(run_dir)


@pytest.mark.parametrize("text", ["{", "", "\xff"])
def test_read_manifest_refuses_what_is_no_json(run_dir, text):
    (run_dir / MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(RunError, match="cannot be read"):
        read_manifest(run_dir)


def test_read_manifest_refuses_json_that_is_no_manifest(run_dir):
    (run_dir / MANIFEST).write_text("[1]")
    with pytest.raises(RunError, match="expected a JSON object, got list"):
        read_manifest(run_dir)


@pytest.mark.parametrize("missing", ["attempts", "layers", "run_id"])
def test_read_manifest_names_what_is_missing(run_dir, missing):
    content = json.loads((run_dir / MANIFEST).read_text())
    del content[missing]
    (run_dir / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(RunError, match=f"unexpected content .*{missing}"):
        read_manifest(run_dir)


def test_resumed_counts_attempts(manifest):
    twice = manifest.resumed(40).resumed(20)
    assert twice.attempts == (Attempt(0), Attempt(1, 40), Attempt(2, 20))
    assert twice.attempt == 2


def test_valid_until_is_the_earliest_step_a_later_start_went_back_to(manifest):
    twice = manifest.resumed(40).resumed(20)
    assert [twice.valid_until(attempt) for attempt in (0, 1, 2)] == [20, 20, None]


def test_holds_run_looks_for_the_manifest(tmp_path, run_dir):
    assert holds_run(run_dir)
    assert not holds_run(tmp_path)
