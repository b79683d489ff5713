# SPDX-License-Identifier: Apache-2.0
"""Layouts of checkpoints: parts, pieces of ranks, folders beside weights, links and odd files."""

import io
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lightning_interp.core.errors import CheckpointError
from lightning_interp.sources.checkpoints.reading import read_checkpoint, read_header
from lightning_interp.sources.checkpoints.search import find_checkpoints

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)}


def refusals(*sources) -> tuple[list, dict[str, str]]:
    """What is found under some sources, and what is refused, each by the end of its path."""
    found, told = find_checkpoints([str(source) for source in sources])
    return found, {Path(each.where).name: each.text for each in told}


def torch_bytes() -> bytes:
    file = io.BytesIO()
    torch.save(WEIGHTS, file)
    return file.getvalue()


def save_parts(folder: Path, stem: str, *, missing: int | None = None, first: int = 1) -> None:
    folder.mkdir(exist_ok=True)
    for place, name in enumerate("abc"):
        if place != missing:
            save_file({name: torch.full((2,), float(place))}, folder / f"{stem}-{place + first:05d}-of-00003.safetensors")


@pytest.mark.parametrize("first", [0, 1])
def test_parts_without_an_index_are_one_checkpoint(tmp_path, first):
    save_parts(tmp_path / "checkpoint-20", "model", first=first)
    (found,), _ = find_checkpoints([str(tmp_path)])
    assert (found.where, found.named_step) == (str(tmp_path / "checkpoint-20"), 20)
    assert read_checkpoint(found).keys() == read_header(found).shapes.keys() == {"a", "b", "c"}


def test_parts_of_several_steps_in_one_folder_are_told_apart(tmp_path):
    for step in (20, 40):
        save_parts(tmp_path, f"step{step}-model")
    found, _ = find_checkpoints([str(tmp_path)])
    assert [(each.named_step, len(each.files)) for each in found] == [(20, 3), (40, 3)]


def test_a_part_given_alone_stands_for_all_of_them(tmp_path):
    save_parts(tmp_path, "model")
    (found,), _ = find_checkpoints([str(path) for path in sorted(tmp_path.iterdir())])
    assert len(found.files) == 3


def test_a_checkpoint_with_a_part_missing_is_refused_and_the_others_are_found(tmp_path):
    save_parts(tmp_path / "checkpoint-20", "model", missing=1)
    save_parts(tmp_path / "checkpoint-40", "model")
    found, told = refusals(tmp_path)
    assert [each.named_step for each in found] == [40]
    assert "00002" in told["checkpoint-20"]


def test_files_of_one_count_that_hold_the_same_names_are_pieces_of_ranks(tmp_path):
    for part in (1, 2):
        torch.save({"w": torch.ones(2, 3)}, tmp_path / f"model_step5-{part:05d}-of-00002.pt")
    (found,), _ = find_checkpoints([str(tmp_path)])
    with pytest.raises(CheckpointError, match=r"w is in 2 of its 2 files: pieces of ranks"):
        read_header(found)


RANKS = {
    "Megatron": (["iter_0000020/mp_rank_00/model_optim_rng.pt", "iter_0000020/mp_rank_01/model_optim_rng.pt"], "Megatron"),
    "Megatron, one rank": (["iter_0000020/mp_rank_00/model_optim_rng.pt"], "Megatron"),
    "DeepSpeed, two ranks": (["step=20/mp_rank_00_model_states.pt", "step=20/mp_rank_01_model_states.pt"], "zero_to_fp32"),
    "ZeRO 3": (["step=20.ckpt/checkpoint/zero_pp_rank_0_mp_rank_00_model_states.pt"], "zero_to_fp32"),
    "DeepSpeed": (["latest", "global_step20/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"], "zero_to_fp32"),
    "DCP": (["step_20/.metadata", "step_20/meta.pt"], "dcp_to_torch"),
    "DCP without metadata": (["step_20/__0_0.distcp", "step_20/meta.pt"], "dcp_to_torch"),
    "FSDP": (["checkpoint-20/pytorch_model_fsdp_0/.metadata", "checkpoint-20/scheduler.pt"], "merge-weights"),
    "ranks in names": (["step_20_rank0.pt", "step_20_rank1.pt"], "Merge them"),
    "ranks as folders": (["step_20/rank_0/model.pt", "step_20/rank_1/model.pt"], "Merge them"),
    "shards": (["step_20/model_shard_3.pt"], "Merge them"),
    "Llama": (["step_20/consolidated.00.pth", "step_20/consolidated.01.pth"], "Merge them"),
}


@pytest.mark.parametrize(("names", "way_out"), RANKS.values(), ids=RANKS)
def test_pieces_of_ranks_are_refused_one_by_one_and_stop_nothing(tmp_path, names, way_out):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(torch_bytes())
    for step in (1, 2):
        torch.save(WEIGHTS, tmp_path / f"whole_step={step}.pt")
    found, told = find_checkpoints([str(tmp_path)])
    assert [each.named_step for each in found] == [1, 2]
    assert len(told) == 1 and told[0].named_step == 20 and way_out in told[0].text


def test_what_has_a_rank_for_a_setting_is_whole(tmp_path):
    for name in ("lora_rank8_step1.pt", "lora_rank16_step2.pt", "consolidated.00.pth"):
        torch.save(WEIGHTS, tmp_path / name)
    found, told = refusals(tmp_path)
    assert len(found) == 3 and not told


def test_one_damaged_index_costs_one_checkpoint(tmp_path):
    for step in (1, 2):
        (tmp_path / f"step{step}").mkdir()
        save_file(WEIGHTS, tmp_path / f"step{step}" / "model.safetensors")
    (tmp_path / "step3").mkdir()
    (tmp_path / "step3/model.safetensors.index.json").write_text("{")
    found, told = refusals(tmp_path)
    assert [each.named_step for each in found] == [1, 2] and "no JSON" in told["step3"]


def test_the_final_weights_do_not_hide_the_folders_beside_them(tmp_path):
    output = tmp_path / "output"
    for folder in (output, output / "checkpoint-10", output / "checkpoint-20", output / "onnx"):
        folder.mkdir()
        save_file(WEIGHTS, folder / "model.safetensors")
    assert [each.named_step for each in find_checkpoints([str(output)])[0]] == [10, 20, None]


def test_links_in_a_circle_pipes_and_devices_end_nothing(tmp_path):
    folder = tmp_path / "run"
    (folder / "sub").mkdir(parents=True)
    torch.save(WEIGHTS, tmp_path / "step_99.pt")  # outside: reached only by the link to the parent
    torch.save(WEIGHTS, folder / "step_1.pt")
    os.mkfifo(folder / "step_2.pt")
    os.mkfifo(folder / "sub" / "model.safetensors.index.json")
    (folder / "step_3.pt").symlink_to("step_3.pt")
    (folder / "step_4.safetensors").symlink_to("/dev/zero")
    (folder / "up").symlink_to("..")
    (folder / "itself").symlink_to(".")
    found, told = refusals(folder)
    assert [each.named_step for each in found] == [1]
    assert told.keys() == {"sub", "up", "itself", "step_2.pt", "step_3.pt", "step_4.safetensors"}
    assert all("a link to a folder above it" in told[name] for name in ("up", "itself"))


@pytest.mark.parametrize("name", ["mp_rank_01_model_states.pt", "mp_rank_00", "zero_pp_rank_1_mp_rank_00_optim_states.pt"])
def test_a_piece_given_by_itself_is_refused(tmp_path, name):
    path = tmp_path / name
    if not path.suffix:
        path.mkdir()
    (path if path.suffix else path / "model_optim_rng.pt").write_bytes(torch_bytes())
    found, told = find_checkpoints([str(path)])
    assert not found and len(told) == 1


def test_a_checkpoint_goes_by_its_own_name_and_not_by_that_of_a_link(tmp_path):
    for step in (10, 20):
        (tmp_path / f"run/checkpoint-{step}").mkdir(parents=True)
        save_file(WEIGHTS, tmp_path / f"run/checkpoint-{step}/model.safetensors")
    (tmp_path / "run/best").symlink_to("checkpoint-10")
    (tmp_path / "run/a").mkdir()
    (tmp_path / "run/a/latest").symlink_to("../checkpoint-20")
    (tmp_path / "elsewhere").mkdir()
    save_file(WEIGHTS, tmp_path / "elsewhere/model_step30.safetensors")
    (tmp_path / "run/other").symlink_to("../elsewhere")  # outside: followed
    (tmp_path / "given").symlink_to("run")
    for source in ("run", "given"):
        found, told = refusals(tmp_path / source)
        assert [each.named_step for each in found] == [10, 20, 30]
        assert told.keys() == {"best", "latest"}
