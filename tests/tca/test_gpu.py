# SPDX-License-Identifier: Apache-2.0
"""The same results on a GPU as on the CPU. Marked `gpu`: run with `pytest -m gpu` where there is one."""

import pytest
import torch

from lightning_interp.tca import OnlineTCA, fit_cp, match_components, select_rank

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fit_cp_on_a_gpu_finds_what_the_cpu_finds(planted, nonnegative, dtype):
    tensor = planted.planted((30, 40, 50), 3, nonnegative=nonnegative, dtype=dtype).tensor
    here, there = (fit_cp(tensor, 3, nonnegative=nonnegative, device=device) for device in ("cpu", "cuda"))
    assert there.factors[0].is_cuda
    # other orders of addition in some hundred sweeps that end at a relative change of 1e-6
    assert there.relative_error == pytest.approx(here.relative_error, rel=1e-4)
    assert min(match_components(here, there.to("cpu")).congruence) > 0.999


def test_select_rank_on_a_gpu_recommends_the_same_rank(planted):
    tensor = planted.planted((30, 40, 50), 3).tensor
    here, there = (select_rank(tensor, range(1, 6), device=device) for device in ("cpu", "cuda"))
    assert there.recommended == here.recommended == 3


def test_online_tca_on_a_gpu_gives_loadings_there(planted):
    tensor = planted.planted((12, 20, 24), 2).tensor
    tca = OnlineTCA([1, 2], device="cuda")
    for step, snapshot in enumerate(tensor):
        tca.add(step, snapshot)
    tca.refit()
    assert tca.loadings(tensor[-1]).is_cuda
