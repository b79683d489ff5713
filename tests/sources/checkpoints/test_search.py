# SPDX-License-Identifier: Apache-2.0
import json
import uuid
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lightning_interp.core.errors import CheckpointError, ConfigError
from lightning_interp.sources.checkpoints.reading import read_checkpoint, read_header
from lightning_interp.sources.checkpoints.search import find_checkpoints
from lightning_interp.sources.checkpoints.step_names import step_in_name

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)}


def steps(*sources, **options):
    return [found.named_step for found in find_checkpoints([str(source) for source in sources], **options)]


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("epoch=3-step=500.ckpt", 500),
        ("checkpoint-1500/model.safetensors", 1500),
        ("step1000/pytorch_model.bin", 1000),
        ("global_step_20.pt", 20),
        ("iter_0000300.pth", 300),
        ("weights_7.pt", 7),
        ("2024/model_v2_final9.pt", 9),
        ("last.ckpt", None),
    ],
)
def test_the_step_is_read_from_usual_names(name, step):
    assert step_in_name(name) == step


def test_a_pattern_says_where_the_step_is(tmp_path):
    for tokens in (3, 20):
        torch.save(WEIGHTS, tmp_path / f"7b-{tokens}Btokens-step1.pt")
    assert steps(tmp_path, step_pattern=r"-(\d+)Btokens") == [3, 20]


def test_checkpoints_are_in_order_of_their_steps_not_of_their_names(tmp_path):
    for step in (1000, 20, 300):
        torch.save(WEIGHTS, tmp_path / f"step={step}.pt")
    assert steps(tmp_path) == [20, 300, 1000]


def test_folders_in_the_hugging_face_layout_are_one_checkpoint_each(tmp_path):
    for step in (500, 1000):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        save_file(WEIGHTS, folder / "model.safetensors")
        for beside in ("optimizer.pt", "scheduler.pt", "rng_state_0.pth", "training_args.bin"):
            torch.save({"x": 1}, folder / beside)
    found = find_checkpoints([str(tmp_path)])
    assert [(each.named_step, each.kind, len(each.files)) for each in found] == [
        (500, "safetensors", 1),
        (1000, "safetensors", 1),
    ]


def test_parts_of_a_checkpoint_are_read_as_one(tmp_path):
    save_file({"a": WEIGHTS["a"]}, tmp_path / "model-1.safetensors")
    save_file({"b": WEIGHTS["b"]}, tmp_path / "model-2.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (found,) = find_checkpoints([str(tmp_path)])
    tensors = read_checkpoint(found)
    assert all(torch.equal(tensors[name], WEIGHTS[name]) for name in WEIGHTS)
    assert read_header(found).shapes == {"a": (2, 3), "b": (2,)}


@pytest.mark.parametrize("part", ["../secret.safetensors", "/etc/passwd", "a\\b", "", 3])
def test_an_index_that_leaves_its_folder_is_refused(tmp_path, part):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": part}}))
    with pytest.raises(CheckpointError, match="weight_map"):
        find_checkpoints([str(tmp_path)])


def test_a_missing_part_is_named(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))
    (found,) = find_checkpoints([str(tmp_path)])
    with pytest.raises(CheckpointError, match=r"gone\.safetensors: the file is gone"):
        read_checkpoint(found)


def test_a_checkpoint_spread_over_ranks_is_refused_with_the_way_out(tmp_path):
    (tmp_path / ".metadata").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"spread over ranks.*Merge it first"):
        find_checkpoints([str(tmp_path)])


def test_nothing_there_and_nothing_in_it(tmp_path):
    with pytest.raises(ConfigError, match="there is no such file"):
        find_checkpoints([str(tmp_path / "gone")])
    with pytest.raises(CheckpointError, match="no checkpoint there"):
        find_checkpoints([str(tmp_path)])


def test_urls_are_listed_and_read_through_fsspec(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    system, root = fsspec.filesystem("memory"), f"/{uuid.uuid4().hex}"
    torch.save(WEIGHTS, tmp_path / "a.pt")
    for step in (1, 2):
        system.pipe(f"{root}/run/step{step}/pytorch_model.bin", (tmp_path / "a.pt").read_bytes())
    found = find_checkpoints([f"memory://{root}/run"])
    assert [each.named_step for each in found] == [1, 2]
    assert torch.equal(read_checkpoint(found[1])["a"], WEIGHTS["a"])


def test_a_url_without_its_package_says_so():
    with pytest.raises(ConfigError, match="nosuchprotocol"):
        find_checkpoints(["nosuchprotocol://bucket/run"])


@pytest.mark.parametrize("wrapped", [False, True])
def test_wrapper_prefixes_are_taken_off(tmp_path, wrapped):
    names = {f"_orig_mod.{name}" if wrapped else name: tensor for name, tensor in WEIGHTS.items()}
    torch.save({"state_dict": names}, tmp_path / "step1.pt")
    (found,) = find_checkpoints([str(tmp_path)])
    assert read_checkpoint(found).keys() == read_header(found).shapes.keys() == WEIGHTS.keys()


@pytest.mark.parametrize("cut", [0, 10, -4])
def test_a_truncated_safetensors_file_is_named(tmp_path, cut):
    save_file(WEIGHTS, tmp_path / "step1.safetensors")
    whole = (tmp_path / "step1.safetensors").read_bytes()
    (tmp_path / "step1.safetensors").write_bytes(whole[:cut])
    (found,) = find_checkpoints([str(tmp_path)])
    with pytest.raises(CheckpointError, match=r"step1\.safetensors: damaged"):
        read_checkpoint(found)


def test_find_shows_paths_as_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(WEIGHTS, "step1.pt")
    assert [found.where for found in find_checkpoints(["."])] == [
        str(Path("./step1.pt").as_posix()).replace("step", "./step", 1)
    ]
