# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from lightning_interp.core.device import check_device, with_index
from lightning_interp.core.errors import ConfigError


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1", torch.device("cuda", 1)])
def test_check_device_takes_what_is_here(device):
    check_device(device, count=2)


@pytest.mark.parametrize(
    ("device", "auto", "message"),
    [
        ("cuda:2", True, r"'cuda:2' is not there \(2 GPUs visible\); use 'auto' or 'cpu'"),
        ("cuda:2", False, r"'cuda:2' is not there \(2 GPUs visible\); use 'cpu'"),
        ("gpu", True, r"'gpu' is not a device .* use 'auto', 'cpu' or 'cuda:0'"),
        ("auto", False, r"'auto' is not a device .* use 'cpu' or 'cuda:0'"),
        (3.5, True, r"3.5 is not a device"),
    ],
)
def test_check_device_refuses_others_and_names_what_will_do(device, auto, message):
    with pytest.raises(ConfigError, match=f"device: {message}"):
        check_device(device, auto=auto, count=2)


def test_with_index_gives_a_gpu_its_number():
    assert [with_index(name) for name in ("cuda", "cuda:1", "cpu")] == [
        torch.device("cuda", 0),
        torch.device("cuda", 1),
        torch.device("cpu"),
    ]
