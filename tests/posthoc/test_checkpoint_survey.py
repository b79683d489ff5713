# SPDX-License-Identifier: Apache-2.0
import json
import os
import shutil

import pytest
import torch
from safetensors.torch import save_file

from lightning_interp.core.errors import CheckpointError, ConfigError
from lightning_interp.posthoc.checkpoint_analysis import analyze_checkpoints
from lightning_interp.posthoc.checkpoint_survey import Survey


def weights(seed: int, rows: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"a.weight": torch.randn(rows, 2, generator=generator)}


def save(path, seed, **entries):
    torch.save({"state_dict": weights(seed), **entries} if entries else weights(seed), path)


def kinds(survey: Survey) -> dict[str, str]:
    return {finding.where.rsplit("/", 1)[-1]: finding.kind for finding in survey.findings}


def analyzed(folder, out, **options):
    return analyze_checkpoints(folder, out=out, device="cpu", measures="norms", **options)


def test_a_copy_of_a_checkpoint_is_left_out_and_distrusts_nothing(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for step in (1, 2, 3):
        save(folder / f"step={step}.ckpt", step, global_step=step)
    shutil.copy(folder / "step=3.ckpt", folder / "last.ckpt")
    save(folder / "step=2-v1.ckpt", 2, global_step=2)
    (folder / "a_link.ckpt").symlink_to("step=1.ckpt")
    os.link(folder / "step=1.ckpt", folder / "best.ckpt")
    analysis = analyzed(folder, tmp_path / "out")
    assert analysis.observed == (1, 2, 3)
    assert {finding.kind for finding in analysis.findings} == {"copy"}
    assert analysis.run.analysis["untrusted"] == {}


def test_a_copy_without_a_step_of_its_own_is_known_by_what_it_holds(tmp_path):
    for step in (1, 2):
        save(tmp_path / f"step_{step}.pt", step)
    shutil.copy(tmp_path / "step_2.pt", tmp_path / "last.pt")
    assert kinds(Survey.of([str(tmp_path)])) == {"last.pt": "copy"}


@pytest.mark.parametrize("suffix", ["ckpt", "safetensors"])
def test_two_different_checkpoints_of_one_step_are_no_copies(tmp_path, suffix):
    for place, name in enumerate(("step=2", "step=2-v1")):
        if suffix == "ckpt":
            save(tmp_path / f"{name}.{suffix}", place)
        else:
            save_file(weights(place), tmp_path / f"{name}.{suffix}")
    survey = Survey.of([str(tmp_path)])
    assert list(kinds(survey).values()) == ["same_step"]


def test_epochs_are_the_axis_where_nothing_says_the_step(tmp_path):
    for epoch, accuracy in enumerate((0.10, 0.41, 0.38)):
        save(tmp_path / f"best_epoch_{epoch}_acc_{accuracy:.2f}.pth", epoch)
    survey = Survey.of([str(tmp_path)])
    assert survey.in_epochs
    assert [each.step for each in survey.kept] == [0, 1, 2]


def test_epochs_within_files_order_those_whose_names_say_nothing(tmp_path):
    for epoch, name in enumerate(("best", "last", "final")):
        save(tmp_path / f"{name}.pt", epoch, epoch=epoch)
    survey = Survey.of([str(tmp_path)])
    assert survey.in_epochs and [each.step for each in survey.kept] == [0, 1, 2]


def test_epochs_and_steps_are_never_one_series(tmp_path):
    for step in (100, 200):
        save(tmp_path / f"step_{step}.pt", step)
    save(tmp_path / "epoch_2.pt", 5)
    survey = Survey.of([str(tmp_path)])
    assert not survey.in_epochs and [each.step for each in survey.kept] == [100, 200]
    (finding,) = survey.findings
    assert finding.kind == "no_step" and "only the epoch, 2" in finding.text


def test_dates_are_no_steps(tmp_path):
    for minute in (1400, 1420, 1440):
        save(tmp_path / f"resnet_20261130-{minute}.pth", minute)
    survey = Survey.of([str(tmp_path)])
    assert not survey.kept
    with pytest.raises(CheckpointError, match=r"and 2 more: .*pass --step-pattern"):
        survey.require_some()


@pytest.mark.parametrize("step", [2**63, 10**30])
def test_a_step_that_no_training_reached_costs_its_checkpoint_alone(tmp_path, step):
    save(tmp_path / "step_1.pt", 1)
    save(tmp_path / "named.pt", 2, step=step)
    save(tmp_path / f"step_{step}.pt", 3)
    survey = Survey.of([str(tmp_path)])
    assert [each.step for each in survey.kept] == [1]
    assert len(survey.findings) == 2 and all("step" in finding.text and finding.left_out for finding in survey.findings)
    assert analyzed(tmp_path, tmp_path / "out").observed == (1,)


def test_networks_side_by_side_are_refused_by_name(tmp_path):
    for step in (10, 20):
        torch.save(weights(step), tmp_path / f"G_{step}.pt")
        torch.save(weights(step, rows=5), tmp_path / f"D_{step}.pt")
    with pytest.raises(CheckpointError, match=r"2 networks at the same steps: .*D_\*\.pt, .*G_\*\.pt"):
        Survey.of([str(tmp_path)])


def test_one_odd_file_is_no_second_network(tmp_path):
    for step in (10, 20, 30):
        torch.save(weights(step), tmp_path / f"net_{step}.pt")
    torch.save(weights(0, rows=5), tmp_path / "other_40.pt")
    assert [each.step for each in Survey.of([str(tmp_path)]).kept] == [10, 20, 30]


def test_a_key_is_read_kept_and_no_option_for_safetensors(tmp_path):
    folder = tmp_path / "gan"
    folder.mkdir()
    for step in (1, 2):
        torch.save({"netG": weights(step), "netD": weights(step, rows=5), "step": step}, folder / f"gan_{step}.pt")
    with pytest.raises(CheckpointError, match="'netG', 'netD'"):
        analyzed(folder, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    analysis = analyzed(folder, tmp_path / "out", key="netD")
    expected = [float(weights(step, rows=5)["a.weight"].norm()) for step in (1, 2)]
    assert analysis.run.records("weight_norm")[1].tolist() == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ConfigError, match="begun with another --key"):
        analyzed(folder, tmp_path / "out", key="netG")
    save_file(weights(3), tmp_path / "step_3.safetensors")
    with pytest.raises(CheckpointError, match=r"key=\) names an entry of a file of torch\.save, and this is none"):
        analyzed(tmp_path / "step_3.safetensors", tmp_path / "other", key="netD")


def test_the_step_beside_hugging_face_weights_is_their_own(tmp_path):
    save_file(weights(1), tmp_path / "model.safetensors")
    (tmp_path / "trainer_state.json").write_text(json.dumps({"global_step": 30}))
    (kept,) = Survey.of([str(tmp_path)]).kept
    assert kept.step == 30


def test_an_adapter_is_said_to_be_one(tmp_path):
    for step in (1, 2):
        (tmp_path / f"checkpoint-{step}").mkdir()
        named = {"base_model.model.l.lora_A.weight": torch.randn(2, 3)}
        save_file(named, tmp_path / f"checkpoint-{step}" / "adapter_model.safetensors")
    survey = Survey.of([str(tmp_path)])
    assert [(finding.kind, finding.left_out) for finding in survey.findings] == [("adapter", False)]
    assert len(survey.kept) == 2


def test_everything_left_out_is_written_down(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for step in (1, 2):
        save(folder / f"step_{step}.pt", step)
    save(folder / "mystery.pt", 7)
    shutil.copy(folder / "step_2.pt", folder / "copy_step_2.pt")
    for _ in range(2):  # and once, however often it is gone on with
        analyzed(folder, tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "checkpoints.jsonl").read_text().splitlines()]
    assert sorted(line["where"].rsplit("/", 1)[-1] for line in lines) == [
        "copy_step_2.pt",
        "mystery.pt",
        "step_1.pt",
        "step_2.pt",
    ]


def test_names_that_are_no_text_end_nothing(tmp_path):
    save(tmp_path / "step_1.pt", 1)
    save(tmp_path / b"step_8\xff.pt".decode("utf8", "surrogateescape"), 8)
    save(tmp_path / "new\nline_step_9.pt", 9)
    assert analyzed(tmp_path, tmp_path / "out").observed == (1, 8, 9)


def test_nothing_measured_is_an_error(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for step in (1, 2):
        torch.save({"a.weight": torch.tensor([float(step), torch.nan])}, folder / f"step_{step}.pt")
    with pytest.raises(CheckpointError, match=r"none of the checkpoints could be measured.*NaN or infinity in a\.weight"):
        analyzed(folder, tmp_path / "out")
