# SPDX-License-Identifier: Apache-2.0
"""TensorBoard logs, written by PyTorch's SummaryWriter; Lightning's own are in test_logger_files."""

import math
import struct
import sys

import pytest
import torch
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from torch.utils.tensorboard import SummaryWriter

from lightning_interp.cli.main import main
from lightning_interp.core.errors import MetricsError
from lightning_interp.sources.metrics.history import read_metrics
from lightning_interp.sources.metrics.tensorboard_log import matches

STEPS = list(range(0, 300, 10))


def float32(value):
    """What is left of a number in a `simple_value`."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def write(folder, scalars, **options):
    """Log (tag, value, step) in this order to one event file, and return the file."""
    before = set(folder.glob("*"))
    with SummaryWriter(folder, **{"filename_suffix": f".{len(before)}"} | options) as writer:
        for tag, value, step in scalars:
            writer.add_scalar(tag, value, step)
    return (set(folder.glob("events.out.tfevents.*")) - before).pop()


@pytest.fixture
def log(tmp_path):
    """As Lightning's logger has it: `version_0` with one event file, train and validation, and the epoch."""
    scalars = [
        item
        for step in STEPS
        for item in (("train_loss", 3 - step / 200, step), ("val/acc", step / 300, step), ("epoch", step // 100, step))
    ]
    write(tmp_path / "logs" / "version_0", scalars)
    return tmp_path / "logs" / "version_0"


def test_a_log_is_read_under_record_names(log):
    assert read_metrics(log).series == {
        "train_loss": (STEPS, [float32(3 - step / 200) for step in STEPS]),
        "heldout_accuracy": (STEPS, [float32(step / 300) for step in STEPS]),
    }


def test_a_log_shows_how_its_tags_were_understood(log):
    history = read_metrics(log)
    assert (history.mapping, history.unused) == ({"train_loss": "train_loss", "val/acc": "heldout_accuracy"}, ())


def test_a_log_is_read_from_its_file_its_folder_or_one_above(log):
    file = next(log.iterdir())
    assert read_metrics(file).series == read_metrics(log).series == read_metrics(log.parent).series


def test_a_file_is_read_alone(log):
    file = write(log, [("train_loss", 9.0, 5)])
    assert read_metrics(file).series == {"train_loss": ([5], [9.0])}


def test_series_agree_with_the_records_of_the_file(log):
    events = LegacyEventFileLoader(str(next(log.iterdir()))).Load()
    found = [(e.step, v.simple_value) for e in events for v in e.summary.value if v.tag == "train_loss"]
    assert list(zip(*read_metrics(log).series["train_loss"], strict=True)) == found


def test_no_scalar_of_a_long_run_is_lost(tmp_path):
    file = write(tmp_path / "long", [("train_loss", 1.0, step) for step in range(20_000)])  # the default keeps 10,000
    assert read_metrics(file).series["train_loss"][0] == list(range(20_000))


def test_scalars_of_rank_zero_tensors_are_read_in_their_precision(tmp_path):
    with SummaryWriter(tmp_path / "new") as writer:
        for step in range(30):  # TensorBoard's default keeps 10
            writer.add_scalar("train_loss", 0.1 + step, step, new_style=True, double_precision=True)
            writer.add_scalar("val_loss", 0.1 + step, step, new_style=True)
    series = read_metrics(tmp_path / "new").series
    assert series["train_loss"] == (list(range(30)), [0.1 + step for step in range(30)])
    assert series["heldout_loss"][1] == [float32(0.1 + step) for step in range(30)]


def test_what_is_no_scalar_is_left_out(tmp_path):
    with SummaryWriter(tmp_path / "mixed") as writer:
        writer.add_text("val_loss", "a text, and a tensor of rank 0 to TensorBoard", 0)
        writer.add_histogram("train/acc", torch.arange(5.0), 0)
        writer.add_scalar("train_loss", 1.0, 0)
    history = read_metrics(tmp_path / "mixed")
    assert (history.series, history.unused) == ({"train_loss": ([0], [1.0])}, ())


def test_nan_and_infinity_are_kept(tmp_path):
    file = write(tmp_path / "nan", [("train_loss", 1.0, 0), ("train_loss", math.nan, 1), ("train_loss", math.inf, 2)])
    steps, values = read_metrics(file).series["train_loss"]
    assert (steps, math.isnan(values[1]), values[2]) == ([0, 1, 2], True, math.inf)


def test_files_of_a_resumed_run_are_merged_and_the_later_value_stands(tmp_path):
    write(tmp_path / "run", [("train_loss", 1.0, step) for step in (0, 10, 20, 30)])
    write(tmp_path / "run", [("train_loss", 2.0, step) for step in (20, 30, 40)])
    assert read_metrics(tmp_path / "run").series["train_loss"] == ([0, 10, 20, 30, 40], [1.0, 1.0, 2.0, 2.0, 2.0])


def test_the_later_value_stands_whatever_the_files_are_called(tmp_path):
    early = write(tmp_path / "run", [("train_loss", 1.0, 0)])
    late = write(tmp_path / "run", [("train_loss", 2.0, 0)])
    early.rename(tmp_path / "run" / "events.out.tfevents.20.host")
    late.rename(tmp_path / "run" / "events.out.tfevents.10.host")
    assert read_metrics(tmp_path / "run").series["train_loss"] == ([0], [2.0])


def test_the_later_value_stands_whatever_kind_of_summary_it_is(tmp_path):
    with SummaryWriter(tmp_path / "run") as writer:
        writer.add_scalar("train_loss", 1.0, 0, new_style=True)
        writer.add_scalar("train_loss", 2.0, 0)
    assert read_metrics(tmp_path / "run").series["train_loss"] == ([0], [2.0])


def test_a_purge_step_takes_back_what_came_after(tmp_path):
    write(tmp_path / "run", [("train_loss", 1.0, step) for step in (0, 10, 20, 25)])
    write(tmp_path / "run", [("train_loss", 2.0, 30)], purge_step=20)
    assert read_metrics(tmp_path / "run").series["train_loss"] == ([0, 10, 30], [1.0, 1.0, 2.0])


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_record_cut_short_at_the_end_is_left_out(log, cut):
    file = write(log.parent / "torn", [("train_loss", float(step), step) for step in range(10)])
    file.write_bytes(file.read_bytes()[:-cut])
    assert read_metrics(file).series["train_loss"] == (list(range(9)), [float(step) for step in range(9)])


def test_a_torn_file_does_not_hide_the_next_one(tmp_path):
    torn = write(tmp_path / "run", [("train_loss", 1.0, step) for step in (0, 10, 20)])
    torn.write_bytes(torn.read_bytes()[:-3])
    write(tmp_path / "run", [("train_loss", 2.0, step) for step in (20, 30)])
    assert read_metrics(tmp_path / "run").series["train_loss"] == ([0, 10, 20, 30], [1.0, 1.0, 2.0, 2.0])


def test_folders_of_add_scalars_below_a_run_are_not_runs(log):
    with SummaryWriter(log) as writer:
        writer.add_scalars("loss", {"a": 1.0, "b": 2.0}, 0)
    assert len(list(log.iterdir())) > 2
    assert read_metrics(log.parent).series["train_loss"][0] == STEPS


def test_a_folder_with_several_runs_is_refused_with_their_names(log):
    write(log.parent / "version_1", [("train_loss", 1.0, 0)])
    with pytest.raises(MetricsError, match=r"holds 2 TensorBoard runs\. Name one of them: version_0, version_1\."):
        read_metrics(log.parent)


def test_many_runs_are_not_all_listed(tmp_path):
    for number in range(12):
        write(tmp_path / "logs" / f"version_{number:02}", [("train_loss", 1.0, 0)])
    with pytest.raises(MetricsError, match=r"holds 12 TensorBoard runs.*version_09, …\.$"):
        read_metrics(tmp_path / "logs")


@pytest.mark.parametrize("content", [b"", b"junk that is no record at all, long enough for a header"])
def test_a_file_without_scalars_is_refused(tmp_path, content):
    (tmp_path / "events.out.tfevents.1.host").write_bytes(content)
    with pytest.raises(MetricsError, match=r"events\.out\.tfevents\.1\.host: TensorBoard finds no scalar in it"):
        read_metrics(tmp_path / "events.out.tfevents.1.host")


def test_a_log_without_losses_is_refused_with_its_tags(tmp_path):
    file = write(tmp_path / "run", [("speed", 1.0, 0)])
    with pytest.raises(MetricsError, match=r"no loss or accuracy to judge.*columns with values: `speed`"):
        read_metrics(file)


def test_a_negative_step_is_refused(tmp_path):
    file = write(tmp_path / "run", [("train_loss", 1.0, -1), ("train_loss", 1.0, 0)])
    with pytest.raises(MetricsError, match=r"step -1 is negative\. Log with the optimizer step"):
        read_metrics(file)


def test_what_tensorboard_cannot_read_is_named(log, monkeypatch):
    def broken(self):
        raise ValueError("odd bytes")

    monkeypatch.setattr(LegacyEventFileLoader, "Load", broken)
    with pytest.raises(MetricsError, match=r"version_0: TensorBoard cannot read it \(ValueError: odd bytes\)"):
        read_metrics(log)


def test_a_missing_package_is_named_with_its_extra(log, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.backend.event_processing.event_accumulator", None)
    with pytest.raises(MetricsError, match=r"needs the package tensorboard.*pip install 'lightning-interp\[dashboards\]'"):
        read_metrics(log)


def test_a_path_without_event_files_is_no_log(tmp_path):
    (tmp_path / "version_0").mkdir()
    assert [matches(path) for path in (tmp_path, tmp_path / "events.out.tfevents.9")] == [None, None]


def test_phases_reads_a_log_and_explains_what_it_cannot(log, capsys):
    assert main(["phases", str(log.parent)]) == 0
    assert "val/acc → heldout_accuracy" in " ".join(capsys.readouterr().out.split())
    write(log.parent / "version_1", [("train_loss", 1.0, 0)])
    assert main(["phases", str(log.parent)]) == 2
    assert "version_0, version_1" in capsys.readouterr().err
