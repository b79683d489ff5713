# SPDX-License-Identifier: Apache-2.0
"""Reading metrics histories: every dialect understood, every mistake explained."""

import json
import math
from pathlib import Path

import pytest

from lightning_interp.core.errors import MetricsError
from lightning_interp.sources.metrics.columns import meaning_of
from lightning_interp.sources.metrics.history import read_metrics

REFERENCE = Path(__file__).parents[2] / "data" / "modular_addition_p113.csv"
CSV_LOGGER = """epoch,step,train_loss_epoch,train_loss_step,val_acc,val_loss
0,0,,2.5,,
0,49,,2.0,,
0,99,,,0.5,1.5
0,99,2.2,,,
1,149,,1.0,,
1,199,,,0.75,1.25
1,199,1.1,,,
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="metrics.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_read_metrics_reads_the_reference_run():
    history = read_metrics(REFERENCE)
    assert (history.mapping["test_acc"], len(history.series["heldout_accuracy"][0])) == ("heldout_accuracy", 161)


def test_read_metrics_takes_the_root_of_a_sum_of_squares():
    assert read_metrics(REFERENCE).series["weight_norm"][1][0] == pytest.approx(math.sqrt(1783.3782))


def test_read_metrics_lists_columns_it_did_not_use():
    assert read_metrics(REFERENCE).unused == ("restricted_test",)


def test_read_metrics_reads_csv_logger_output_as_it_is(write):
    series = read_metrics(write(CSV_LOGGER)).series
    assert series["heldout_loss"] == ([99, 199], [1.5, 1.25])


def test_read_metrics_takes_batches_where_epochs_are_few(write):
    assert read_metrics(write(CSV_LOGGER)).series["train_loss"] == ([0, 49, 149], [2.5, 2.0, 1.0])


def test_read_metrics_takes_epochs_where_there_are_enough(write):
    rows = "".join(f"{step},{step / 10},{step}\n" for step in range(20))
    history = read_metrics(write("step,train_loss_step,train_loss_epoch\n" + rows))
    assert history.mapping == {"train_loss_epoch": "train_loss"}


def test_read_metrics_ignores_the_epoch(write):
    assert "epoch" not in read_metrics(write(CSV_LOGGER)).mapping


def test_read_metrics_merges_equal_values_of_one_step(write):
    assert read_metrics(write("step,train_loss\n0,1\n0,1\n1,2\n")).series["train_loss"] == ([0, 1], [1.0, 2.0])


def test_read_metrics_keeps_a_written_nan(write):
    assert math.isnan(read_metrics(write("step,train_loss\n0,1\n1,nan\n")).series["train_loss"][1][1])


def test_read_metrics_reads_blank_as_not_logged(write):
    assert read_metrics(write("step,train_loss\n0,1\n1,\n2,3\n")).series["train_loss"][0] == [0, 2]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_read_metrics_finds_the_separator(write, separator):
    text = "step,train_loss\n0,1\n1,2\n".replace(",", separator)
    assert read_metrics(write(text)).series["train_loss"] == ([0, 1], [1.0, 2.0])


def test_read_metrics_reads_a_byte_order_mark(write):
    assert read_metrics(write(b"\xef\xbb\xbfstep,train_loss\n0,1\n")).series["train_loss"] == ([0], [1.0])


def test_read_metrics_reads_flat_json_lines(write):
    text = '{"step": 0, "train/loss": 2, "val/loss": null}\n{"step": 5, "train/loss": 1, "val/loss": 3}\n'
    assert read_metrics(write(text)).series == {"train_loss": ([0, 5], [2.0, 1.0]), "heldout_loss": ([5], [3.0])}


def record(step, loss, attempt=0, **more):
    return json.dumps({"step": step, "attempt": attempt, "values": {"train_loss": loss}, "layers": {}, **more}) + "\n"


def test_read_metrics_reads_records_in_any_order(write):
    history = read_metrics(write(record(5, 1.0) + record(0, 2.0), "records.jsonl"))
    assert history.series["train_loss"] == ([0, 5], [2.0, 1.0])


def test_read_metrics_drops_what_a_resume_took_back(write):
    rows = record(0, 3.0) + record(10, 2.0) + record(20, 1.0) + record(15, 1.5, attempt=1)
    history = read_metrics(write(rows, "records.jsonl"), resumed={1: 10})
    assert history.series["train_loss"] == ([0, 10, 15], [3.0, 2.0, 1.5])


def test_read_metrics_reads_a_loss_skipped_as_not_finite_as_nan(write):
    row = json.dumps({"step": 9, "attempt": 0, "values": {}, "skipped": {"train_loss": "not finite (nan)"}}) + "\n"
    assert math.isnan(read_metrics(write(record(0, 1.0) + row)).series["train_loss"][1][-1])


def test_read_metrics_takes_the_last_row_of_a_step_alone(write):
    rows = record(0, 3.0) + record(5, 2.0) + json.dumps({"step": 5, "attempt": 0, "values": {"heldout_loss": 1.0}}) + "\n"
    series = read_metrics(write(rows, "records.jsonl")).series
    assert (series["train_loss"], series["heldout_loss"]) == (([0], [3.0]), ([5], [1.0]))


def test_read_metrics_leaves_alone_what_a_failed_measure_says_of_numbers(write):
    row = record(9, 2.0, skipped={"heldout_loss": "failed: ValueError: input is not finite"})
    assert "heldout_loss" not in read_metrics(write(record(0, 1.0) + row)).series


def test_read_metrics_leaves_out_a_torn_last_line(write):
    assert read_metrics(write(record(0, 2.0) + '{"step": 5, "val')).series["train_loss"][0] == [0]


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("train/loss", "train_loss"),
        ("val/loss", "heldout_loss"),
        ("test_loss", "heldout_loss"),
        ("val_acc_epoch", "heldout_accuracy"),
        ("train_acc_step", "train_accuracy"),
        ("interp/heldout_percentile_z", "heldout_percentile_z"),
        ("sum_sq", "weight_norm"),
        ("gini_WE", "gini_embedding"),
        ("gini_WL", "gini_readout"),
        ("val_loss/dataloader_idx_0", "heldout_loss"),
        ("val/acc_epoch/dataloader_idx_2", "heldout_accuracy/dataloader_idx_2"),
        ("heldout_loss/night", "heldout_loss/night"),
    ],
)
def test_meaning_of_understands_aliases(column, name):
    assert meaning_of(column).name == name


@pytest.mark.parametrize(
    "column", ["epoch", "lr-AdamW", "loss_scale", "restricted_test", "", "val_", "train_loss/dataloader_idx_1", "hoyer/act"]
)
def test_meaning_of_claims_nothing_else(column):
    assert meaning_of(column) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        (b"\x00\x01binary", "a binary file"),
        (b"step,train_loss\n0,\xff\xfe\n", "not UTF-8 text"),
        ("step,speed\n0,1\n", "no loss or accuracy to judge. Understood are.*columns with values: `step`, `speed`"),
        ("step,train_loss\n", "holds no rows"),
        ("step,train_loss,train_loss\n0,1,2\n", "line 1: column `train_loss` appears twice"),
        (
            "step,train_loss\n5,1\n6,1\n3,2\n",
            r"2 runs are in it \(steps begin again at 5: run 1 from line 2, 2 from .*line 4\).*--run 1",
        ),
        (
            "step,train_loss\n" + "0,1\n0,2\n1,1\n1,2\n2,1\n2,2\n3,1\n3,2\n",
            "line 3, column `train_loss`: 2 contradicts 1.*step 0, and so at 4 of 4 steps",
        ),
        ("step,train_loss\n0,abc\n", "line 2, column `train_loss`: 'abc' is not a number"),
        ("step,train_loss\n0.5,1\n", "line 2, column `step`: '0.5' is not a whole number"),
        ("step,train_loss\n0,1,2\n", "line 2: 3 cells under 2 columns"),
        ("step,sum_sq,train_loss\n0,-1,2\n", "column `sum_sq`: a sum of squares cannot be negative"),
        ('{"step": 0, "train_loss": 1}\n{"step" 1}\n', "line 2: not a JSON object"),
        ('{"step": 0}\n[1]\n', "line 2: list in place of a JSON object"),
    ],
)
def test_read_metrics_explains_what_is_wrong(write, content, message):
    path = write(content)
    with pytest.raises(MetricsError, match=message) as caught:
        read_metrics(path)
    assert str(path) in str(caught.value)


def test_read_metrics_explains_a_missing_file(tmp_path):
    with pytest.raises(MetricsError, match="no such file"):
        read_metrics(tmp_path / "nothing.csv")


def test_read_metrics_explains_a_folder(tmp_path):
    with pytest.raises(MetricsError, match=r"a folder without run\.json"):
        read_metrics(tmp_path)


def test_read_metrics_does_not_stumble_over_text_it_does_not_use(write):
    assert read_metrics(write("step,note,train_loss\n0,warm,1\n")).series == {"train_loss": ([0], [1.0])}
