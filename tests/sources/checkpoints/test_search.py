# SPDX-License-Identifier: Apache-2.0
import json
import os
import re
import uuid
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lightning_interp.core.errors import CheckpointError, ConfigError
from lightning_interp.sources.checkpoints.reading import read_checkpoint, read_header
from lightning_interp.sources.checkpoints.search import find_checkpoints
from lightning_interp.sources.checkpoints.step_names import epoch_in_name, step_in_name

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)}


def steps(*sources, **options):
    return [found.named_step for found in find_checkpoints([str(source) for source in sources], **options)[0]]


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
        ("step_10k.pt", 10_000),
        ("ckpt-1e4.pt", 10_000),
        ("model-step1,000.bin", 1000),
        ("resnet50_20261130-1420.pth", None),
        ("best_acc_0.93.pth", None),
        ("model_seed3.pt", None),
        ("net_9f3c2ab1.pt", None),
        ("llama-7b.pt", None),
        ("epoch_2.pth", None),
        ("step=5-v1.ckpt", 5),
        ("step99999999999999999999.pt", None),
        ("1764590000.pt", None),
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
    found, _ = find_checkpoints([str(tmp_path)])
    assert [(each.named_step, each.kind, len(each.files)) for each in found] == [
        (500, "safetensors", 1),
        (1000, "safetensors", 1),
    ]


def test_parts_of_a_checkpoint_are_read_as_one(tmp_path):
    save_file({"a": WEIGHTS["a"]}, tmp_path / "model-1.safetensors")
    save_file({"b": WEIGHTS["b"]}, tmp_path / "model-2.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (found,), _ = find_checkpoints([str(tmp_path)])
    tensors = read_checkpoint(found)
    assert all(torch.equal(tensors[name], WEIGHTS[name]) for name in WEIGHTS)
    assert read_header(found).shapes == {"a": (2, 3), "b": (2,)}


@pytest.mark.parametrize("part", ["../secret.safetensors", "/etc/passwd", "a\\b", "", 3])
def test_an_index_that_leaves_its_folder_is_refused(tmp_path, part):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": part}}))
    found, (refused,) = find_checkpoints([str(tmp_path)])
    assert not found and "weight_map" in refused.text


def test_a_missing_part_is_named(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))
    (found,), _ = find_checkpoints([str(tmp_path)])
    with pytest.raises(CheckpointError, match=r"gone\.safetensors: the file is gone"):
        read_checkpoint(found)


def test_a_checkpoint_spread_over_ranks_is_refused_with_the_way_out(tmp_path):
    (tmp_path / ".metadata").write_bytes(b"")
    found, (refused,) = find_checkpoints([str(tmp_path)])
    assert not found and re.search(r"spread over ranks.*Merge it first", refused.text)


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
    found, _ = find_checkpoints([f"memory://{root}/run"])
    assert [each.named_step for each in found] == [1, 2]
    assert torch.equal(read_checkpoint(found[1])["a"], WEIGHTS["a"])


def test_a_url_without_its_package_says_so():
    with pytest.raises(ConfigError, match="nosuchprotocol"):
        find_checkpoints(["nosuchprotocol://bucket/run"])


@pytest.mark.parametrize("wrapped", [False, True])
def test_wrapper_prefixes_are_taken_off(tmp_path, wrapped):
    names = {f"_orig_mod.{name}" if wrapped else name: tensor for name, tensor in WEIGHTS.items()}
    torch.save({"state_dict": names}, tmp_path / "step1.pt")
    (found,), _ = find_checkpoints([str(tmp_path)])
    assert read_checkpoint(found).keys() == read_header(found).shapes.keys() == WEIGHTS.keys()


@pytest.mark.parametrize("cut", [0, 10, -4])
def test_a_truncated_safetensors_file_is_named(tmp_path, cut):
    save_file(WEIGHTS, tmp_path / "step1.safetensors")
    whole = (tmp_path / "step1.safetensors").read_bytes()
    (tmp_path / "step1.safetensors").write_bytes(whole[:cut])
    (found,), _ = find_checkpoints([str(tmp_path)])
    with pytest.raises(CheckpointError, match=r"step1\.safetensors: damaged"):
        read_checkpoint(found)


def test_find_shows_paths_as_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(WEIGHTS, "step1.pt")
    assert [found.where for found in find_checkpoints(["."])[0]] == [
        str(Path("./step1.pt").as_posix()).replace("step", "./step", 1)
    ]


@pytest.mark.parametrize(
    ("name", "epoch"),
    [
        ("epoch_2.pth", 2),
        ("best_epoch_3_acc_0.62.pth", 3),
        ("ep7.pt", 7),
        ("epoch=4-val/loss=0.1.ckpt", 4),
        ("step5.pt", None),
    ],
)
def test_an_epoch_is_read_as_one(name, epoch):
    assert epoch_in_name(name) == epoch


def test_parts_without_an_index_are_one_checkpoint_or_none(tmp_path):
    for step in (10, 20):
        save_file({"a": WEIGHTS["a"]}, tmp_path / f"step{step}-00001-of-00002.safetensors")
    save_file({"b": WEIGHTS["b"]}, tmp_path / "step10-00002-of-00002.safetensors")
    (found,), (refused,) = find_checkpoints([str(tmp_path)])
    assert (found.named_step, read_header(found).shapes) == (10, {"a": (2, 3), "b": (2,)})
    assert refused.named_step == 20 and refused.text.startswith("of its 2 parts 1 are missing (00002)")


@pytest.mark.parametrize(
    "names",
    [
        ["mp_rank_00/model_optim_rng.pt", "mp_rank_01/model_optim_rng.pt"],
        ["zero_pp_rank_0_mp_rank_00_model_states.pt", "zero_pp_rank_1_mp_rank_00_model_states.pt"],
        ["pytorch_model_fsdp_0/__0_0.distcp"],
        ["consolidated.00.pth", "consolidated.01.pth"],
        ["model_rank0.pt", "model_rank1.pt"],
        ["layer_00-model_00-model_states.pt", "layer_01-model_00-model_states.pt"],
    ],
)
def test_what_one_rank_had_is_not_measured_and_does_not_stop_others(tmp_path, names):
    for name in names:
        path = tmp_path / "step20" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(WEIGHTS, path)
    torch.save(WEIGHTS, tmp_path / "step10.pt")
    (found,), (refused,) = find_checkpoints([str(tmp_path)])
    assert found.named_step == 10 and refused.named_step == 20 and "Merge" in refused.text


def test_the_model_states_of_one_rank_are_the_whole(tmp_path):
    folder = tmp_path / "epoch=0-step=7.ckpt" / "checkpoint"
    folder.mkdir(parents=True)
    torch.save({"module": WEIGHTS}, folder / "mp_rank_00_model_states.pt")
    for rank in (0, 1):
        torch.save({"optimizer_state_dict": {}}, folder / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
    (found,), refused = find_checkpoints([str(tmp_path)])
    assert read_header(found).shapes.keys() == WEIGHTS.keys() and not refused


def test_a_step_beside_the_weights_is_read(tmp_path):
    (tmp_path / "out").mkdir()
    save_file(WEIGHTS, tmp_path / "out" / "model.safetensors")
    (tmp_path / "out" / "trainer_state.json").write_text('{"global_step": 1234}')
    assert steps(tmp_path / "out") == [1234]


def test_links_pipes_and_devices_cost_themselves_alone(tmp_path):
    torch.save(WEIGHTS, tmp_path / "step1.pt")
    (tmp_path / "up").symlink_to(tmp_path)
    (tmp_path / "round").symlink_to(tmp_path / "round")
    (tmp_path / "step2.pt").symlink_to("/dev/zero")
    (tmp_path / "step3.pt").symlink_to(tmp_path / "step3.pt")
    os.mkfifo(tmp_path / "step4.pt")
    os.mkfifo(tmp_path / "pytorch_model.bin.index.json")
    (found,), refused = find_checkpoints([str(tmp_path)])
    assert found.named_step == 1 and {2, 3, 4} <= {each.named_step for each in refused}


def test_a_whole_folder_is_not_lost_to_one_odd_name(tmp_path):
    torch.save(WEIGHTS, tmp_path / "step1.pt")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/step2\xff.pt")).write_bytes(b"")
    torch.save(WEIGHTS, tmp_path / "step3\n.pt")
    assert steps(tmp_path) == [1, 2, 3]
