# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from lightning_interp.analysis import orders
from lightning_interp.analysis.device import GpuMemory, choose_device, gpu_memory, is_shared, leaves_gpu
from lightning_interp.core.errors import ConfigError


def gpus(*shares: float) -> list[GpuMemory]:
    """GPUs with these shares of their memory free."""
    return [GpuMemory(index, int(share * 100), 100) for index, share in enumerate(shares)]


@pytest.mark.parametrize(
    ("shares", "training", "expected"),
    [
        ((), "cpu", "cpu"),
        ((0.4, 0.95), "cuda:0", "cuda:1"),
        ((0.95, 0.95), "cuda:0", "cuda:1"),
        ((0.6, 0.3), "cuda:0", "cuda:0"),
        ((0.4, 0.3), "cuda:0", "cpu"),
        ((0.6,), "cpu", "cpu"),
        ((0.95,), "cpu", "cuda:0"),
    ],
    ids=["no GPU", "unused one", "not the training one", "shared", "all busy", "a stranger's", "idle beside the CPU"],
)
def test_choose_device_prefers_an_unused_gpu_then_a_roomy_training_gpu_then_the_cpu(shares, training, expected):
    assert choose_device("auto", training=training, gpus=gpus(*shares)) == expected


@pytest.mark.parametrize("wanted", ["cpu", "cuda:1"])
def test_choose_device_takes_the_one_named(wanted):
    assert choose_device(wanted, training="cuda:0", gpus=gpus(0.0, 0.0)) == wanted


def test_gpu_memory_leaves_out_a_gpu_that_is_too_full_to_be_asked(monkeypatch):
    def ask(index):
        if index == 0:
            raise torch.OutOfMemoryError("CUDA error: out of memory")
        return 60, 100

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", ask)
    assert gpu_memory() == [GpuMemory(1, 60, 100)]


def test_choose_device_gives_a_gpu_its_number():
    """torch refuses to limit the memory of a device without one, which ended the analyzer."""
    assert choose_device("cuda", training="cuda:0", gpus=gpus(0.5)) == "cuda:0"


def test_a_named_device_starts_up_no_gpu(prepare, monkeypatch):
    def asked():
        raise AssertionError("to ask for the memory of a GPU starts it up")

    monkeypatch.setattr(orders, "gpu_memory", asked)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert orders._device(prepare(steps=()).order(device="cuda", training_device="cuda:1")) == "cuda:0"


def test_choose_device_refuses_a_gpu_that_is_not_there():
    with pytest.raises(ConfigError, match=r"'cuda:2' is not there \(2 GPUs visible\); use 'auto' or 'cpu'"):
        choose_device("cuda:2", training="cpu", gpus=gpus(1.0, 1.0))


def test_choose_device_refuses_what_is_no_device():
    with pytest.raises(ConfigError, match="'gpu please' is not a device"):
        choose_device("gpu please", training="cpu", gpus=[])


@pytest.mark.parametrize(
    ("device", "training", "expected"),
    [
        ("cuda:0", "cuda:0", True),
        ("cuda", "cuda:0", True),
        ("cuda:1", "cuda:0", False),
        ("cpu", "cpu", False),
        ("cpu", "cuda:0", False),
        ("cuda:0", "cpu", False),
    ],
)
def test_is_shared_means_the_same_gpu(device, training, expected):
    assert is_shared(device, training=training) is expected


@pytest.mark.parametrize(("free", "expected"), [(0.05, True), (0.1, False), (0.5, False)])
def test_a_shared_gpu_is_left_under_a_tenth_of_its_memory(free, expected):
    assert leaves_gpu(GpuMemory(0, int(free * 100), 100)) is expected
