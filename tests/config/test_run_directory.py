# SPDX-License-Identifier: Apache-2.0
import random
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lightning_interp.config.monitor_config import MonitorConfig, resolve
from lightning_interp.config.run_directory import (
    Progress,
    as_begun,
    choose_directory,
    default_directory,
    new_manifest,
    open_directory,
)
from lightning_interp.core.errors import ConfigError
from lightning_interp.store import Manifest, read_manifest

NET = nn.Sequential(nn.Linear(3, 4), nn.ReLU())


@pytest.fixture
def manifest() -> Manifest:
    config = MonitorConfig()
    return new_manifest(config, resolve(config, NET), NET)


def progress_of(directory: Path, manifest: Manifest, *, last_step: int = 10) -> Progress:
    return Progress(str(directory), manifest.run_id, last_step, manifest.attempt)


def test_default_directory_is_named_by_time_and_chance(tmp_path):
    one, other = default_directory(tmp_path), default_directory(tmp_path)
    assert re.fullmatch(r"\d{8}T\d{6}-[0-9a-f]{6}", one.name)
    assert one.parent == tmp_path / "interp_runs"
    assert one != other


def test_default_directory_moves_no_random_stream(tmp_path):
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    default_directory(tmp_path)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def test_new_manifest_lists_activation_layers_before_matrices(manifest):
    assert manifest.layers == ("1", "0.weight")
    assert manifest.activation_layers == ("1",)
    assert manifest.module_class == "torch.nn.modules.container.Sequential"
    assert "torch" in manifest.versions


def test_as_begun_keeps_what_an_earlier_release_chose(tmp_path, manifest):
    known = replace(manifest, layers=("0", "0.weight"), activation_layers=("0",), parameters=("0.weight",))
    open_directory(tmp_path, known, step=0, progress=None)
    config = as_begun(MonitorConfig(), tmp_path, progress_of(tmp_path, known), NET)
    wanted = new_manifest(MonitorConfig(), resolve(config, NET), NET)
    assert (wanted.layers, wanted.parameters) == (known.layers, known.parameters)
    assert open_directory(tmp_path, wanted, step=10, progress=progress_of(tmp_path, known)).resumed


def test_as_begun_leaves_what_the_user_names_and_what_a_module_lacks(tmp_path, manifest):
    open_directory(tmp_path, manifest, step=0, progress=None)
    progress = progress_of(tmp_path, manifest)
    asked = MonitorConfig.of(layers="0", parameters=["*"])
    assert as_begun(asked, tmp_path, progress, NET) == asked
    assert as_begun(MonitorConfig(), tmp_path, progress, nn.ModuleDict({"other": NET})) == MonitorConfig()
    assert as_begun(MonitorConfig(), tmp_path, None, NET) == MonitorConfig()


def test_open_directory_starts_a_new_run(tmp_path, manifest):
    started = open_directory(tmp_path / "run", manifest, step=0, progress=None)
    assert (started.resumed, started.last_step) == (False, -1)
    assert read_manifest(tmp_path / "run") == manifest


def test_open_directory_refuses_one_that_holds_another_run(tmp_path, manifest):
    open_directory(tmp_path, manifest, step=0, progress=None)
    with pytest.raises(ConfigError, match=rf"already holds the run {manifest.run_id}.*ckpt_path=.*another dirpath"):
        open_directory(tmp_path, manifest, step=0, progress=None)


def test_open_directory_refuses_a_checkpoint_of_another_run(tmp_path, manifest):
    open_directory(tmp_path, manifest, step=0, progress=None)
    with pytest.raises(ConfigError, match="but the checkpoint belongs to other"):
        open_directory(tmp_path, manifest, step=10, progress=replace(progress_of(tmp_path, manifest), run_id="other"))


def test_open_directory_continues_the_checkpoints_run(tmp_path, manifest):
    open_directory(tmp_path, manifest, step=0, progress=None)
    started = open_directory(tmp_path, manifest, step=12, progress=progress_of(tmp_path, manifest))
    assert (started.resumed, started.last_step, started.manifest.attempt) == (True, 10, 1)
    assert started.manifest.attempts[-1].resumed_at == 12


def test_open_directory_refuses_a_run_that_a_checkpoint_does_not_know(tmp_path, manifest):
    open_directory(tmp_path, manifest, step=0, progress=None)
    with pytest.raises(ConfigError, match="already holds the run"):
        open_directory(tmp_path, manifest, step=12, progress=None)


def test_open_directory_says_when_it_cannot_write(tmp_path, manifest):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be written .*choose another dirpath"):
        open_directory(tmp_path / "file" / "run", manifest, step=0, progress=None)


def test_choose_directory_takes_the_users(tmp_path):
    assert choose_directory(MonitorConfig(dirpath="mine"), tmp_path, None) == Path("mine").absolute()


def test_choose_directory_makes_a_new_one_where_none_is_named(tmp_path):
    assert choose_directory(MonitorConfig(), tmp_path, None).parent == tmp_path / "interp_runs"


def test_choose_directory_goes_back_to_the_checkpoints_run(tmp_path, manifest):
    open_directory(tmp_path / "run", manifest, step=0, progress=None)
    assert choose_directory(MonitorConfig(), tmp_path, progress_of(tmp_path / "run", manifest)) == tmp_path / "run"


def test_choose_directory_takes_a_copy_of_the_run_the_user_names(tmp_path, manifest):
    open_directory(tmp_path / "run", manifest, step=0, progress=None)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    config = MonitorConfig(dirpath=tmp_path / "copy")
    assert choose_directory(config, tmp_path, progress_of(tmp_path / "run", manifest)) == tmp_path / "copy"


def test_choose_directory_makes_a_new_one_where_the_checkpoints_is_gone(tmp_path, manifest):
    gone = progress_of(tmp_path / "gone", manifest)
    assert choose_directory(MonitorConfig(), tmp_path, gone).parent == tmp_path / "interp_runs"


def test_progress_round_trips_as_plain_values():
    progress = Progress("run", "abc", 12, 1, (3, 4))
    state = progress.state_dict()
    assert all(type(value) in (str, int, list) for value in state.values())
    assert Progress.from_state(state) == progress


@pytest.mark.parametrize("state", [{}, {"version": 99}])
def test_progress_ignores_a_state_that_is_not_ours(state):
    assert Progress.from_state(state) is None
