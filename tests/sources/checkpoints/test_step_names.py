# SPDX-License-Identifier: Apache-2.0
import pytest

from lightning_interp.sources.checkpoints.step_names import Named, named, number


@pytest.mark.parametrize(
    ("name", "step", "epoch"),
    [
        ("epoch_2.ckpt", None, 2),
        ("ep3.pt", None, 3),
        ("epoch=3-step=500-v1.ckpt", 500, 3),
        ("step1000/epoch_3.pt", 1000, 3),
        ("best_epoch_2_acc_0.38.pth", None, 2),
        ("model_epoch05_val0.93.pt", None, 5),
    ],
)
def test_an_epoch_in_a_name_is_no_step(name, step, epoch):
    assert named(name) == Named(step, epoch)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("model_10k.pt", 10_000),
        ("step-2.5k.pt", 2_500),
        ("step_1e4.pt", 10_000),
        ("step=1,000.pt", 1_000),
        ("model_500_steps_lr0.1.pt", 500),
        ("checkpoint.100.pt", 100),
        ("model_1000_seed42.pt", 1_000),
        ("weights.10-0.35.pt", 10),
        ("step_00100_loss_2.31.pt", 100),
        ("val_loss_0.1234_500.pt", 500),
        ("gan_60.pt", 60),
        ("D_20.pt", 20),
        ("stage1-step20000-tokens80B/model.safetensors", 20_000),
    ],
)
def test_steps_are_read_whole(name, step):
    assert named(name) == Named(step)


@pytest.mark.parametrize(
    "name",
    [
        *("resnet_20261130-1400.pth", "resnet_20261130-1460.pth", "checkpoint_20261130-1420.pt", "m_2026-11-30_14-20-05.pt"),
        *("model_1700000000.pt", "x_3f2a1b4c-1234-4412-9b1c-1234567890ab.pt"),
        *("best_acc_0.93.pt", "acc93.pt", "val_acc_93.pt", "ckpt_0.38.pt", "checkpoint_best_93.2.pt", "loss_2.pt"),
        *(
            "model_seed42.pt",
            "lr_3e-4_seed1.pt",
            "model_lr0.001.pt",
            "bs_128.pt",
            "fold_3.pt",
            "model_v2.pt",
            "last-v1.ckpt",
        ),
        *("a3f9c2d1.pt", "ckpt_3fa9c1.pt", "checkpoint-5e3f2a1/x.pt"),
        *("model-7b.pt", "resnet50.pth", "vit_b_16.pth", "gpt2.pt", "model_v2.pt", "lora_rank8.pt", "run-3/model_final.pt"),
    ],
)
def test_metrics_dates_hashes_and_settings_are_no_step(name):
    assert named(name) == Named()


@pytest.mark.parametrize("text", ["0.38", "best", "", None, "1.5k5", "-3"])
def test_what_is_no_count_is_no_number(text):
    assert number(text) is None


@pytest.mark.parametrize("text", ["1e999999999", str(2**63), "9" * 200])
def test_a_count_beyond_every_training_is_none(text):
    assert number(text) is None
