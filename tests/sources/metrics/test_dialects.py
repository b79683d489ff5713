# SPDX-License-Identifier: Apache-2.0
"""Files as trackers and people leave them: one small file for each kind, and what is read of it."""

import gzip
import json
import math
import os

import pytest

from lightning_interp.core.errors import MetricsError
from lightning_interp.sources.metrics.columns import meaning_of
from lightning_interp.sources.metrics.history import read_metrics

LOSS = {"train_loss": ([0, 1, 2], [3.0, 2.0, 1.0])}
BOTH = LOSS | {"heldout_loss": ([0, 1, 2], [3.5, 2.5, 1.5])}


@pytest.fixture
def write(tmp_path):
    def write(content, name="metrics.csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def table(header, *rows, separator=","):
    return "\n".join([header, *(separator.join(map(str, row)) for row in rows), ""])


PLAIN = table("step,train_loss,val_loss", (0, 3, 3.5), (1, 2, 2.5), (2, 1, 1.5))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (PLAIN, "plain.csv"),
        (PLAIN.encode("utf-8-sig"), "mark.csv"),
        (PLAIN.encode("utf-16"), "wide.csv"),
        (PLAIN.encode("utf-16-le"), "wide_without_mark.csv"),
        (gzip.compress(PLAIN.encode(), mtime=0), "packed.csv.gz"),
        (PLAIN.replace("\n", "\r\n"), "windows.csv"),
        ("# run 7\n\n" + PLAIN, "comment.csv"),
        ("sep=,\n" + PLAIN, "excel.csv"),
        (PLAIN.replace("1,2,2.5\n", "1,2,2.5\nstep,train_loss,val_loss\n"), "header_again.csv"),
        (table("step;train_loss;val_loss", (0, 3, "3,5"), (1, 2, "2,5"), (2, 1, "1,5"), separator=";"), "comma.csv"),
        (table("step train_loss val_loss", (0, 3, 3.5), (1, 2, 2.5), (2, 1, 1.5), separator="   "), "spaces.txt"),
        (table("step,train_loss,val_loss", (0, 3, "tensor(3.5000)"), (1, 2, "[2.5]"), (2, 1, "1.5 ")), "reprs.csv"),
        (table("step,train_loss,val_loss", (0, 3, ""), (0, "", 3.5), (1, 2, 2.5), (2, 1, 1.5)), "two_rows.csv"),
        (table("step,train_loss,val_loss", (0, 3, "nan"), (0, "nan", 3.5), (1, 2, 2.5), (2, 1, "nan"), (2, "nan", 1.5)), "nan.csv"),  # noqa: E501
        (table("step,metric,value", *((s, m, v) for s in range(3) for m, v in (("train_loss", 3 - s), ("val_loss", 3.5 - s)))), "long.csv"),  # noqa: E501
        (table("step,phase,loss", *((s, p, v - s) for s in range(3) for p, v in (("train", 3), ("val", 3.5)))), "phase.csv"),
        (PLAIN + "2,1", "torn.csv"),
        ("0 train 3\n0 val 3.5\n1 train 2\n1 val 2.5\n2 train 1\n2 val 1.5\n", "log.txt"),
        ("".join(json.dumps({"step": s, "loss": {"train": 3 - s, "val": 3.5 - s}}) + "\n" for s in range(3)), "nested.jsonl"),  # noqa: E501
        (json.dumps([{"iter": s, "train/loss": 3 - s, "val/loss": 3.5 - s} for s in range(3)]), "list.json"),
        (json.dumps({"log_history": [{"step": s, "loss": 3 - s} for s in range(3)] + [{"step": s, "eval_loss": 3.5 - s} for s in range(3)]}, indent=1), "trainer_state.json"),  # noqa: E501
        (table("epoch,step,train_loss,val_loss", *((0, s, 3 - s, 3.5 - s) for s in range(3))), "epoch_beside.csv"),
        (table("Wall time,Step,train_loss,val_loss", *((9, s, 3 - s, 3.5 - s) for s in range(3))), "time.csv"),
        (table("step,train_loss,val_loss", (2, 1, 1.5), (1, 2, 2.5), (0, 3, 3.5)) , "newest_first.csv"),
    ],
)  # fmt: skip
def test_the_same_history_is_read_of_every_form(write, content, name):
    history = read_metrics(write(content, name))
    assert (history.series, history.axis.kind) == (BOTH, "optimizer steps")


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (table("epoch,loss,val_loss", (0, 3, 3.5), (1, 2, 2.5), (2, 1, 1.5)), "keras.csv"),
        (table("epoch,train_loss,valid_loss,time", (0, 3, 3.5, "00:17"), (1, 2, 2.5, "00:17"), (2, 1, 1.5, "00:17")), "fastai.csv"),  # noqa: E501
        (table("Epoch,Train Loss,Val Loss", (0, 3, 3.5), (1, 2, 2.5), (2, 1, 1.5)), "named.csv"),
    ],
)  # fmt: skip
def test_epochs_are_said_to_be_epochs(write, content, name):
    history = read_metrics(write(content, name))
    assert (history.series, history.axis.kind, "Steps are epochs" in history.axis.sentence()) == (BOTH, "epochs", True)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (json.dumps({"loss": [3, 2, 1], "val_loss": [3.5, 2.5, 1.5]}), "history.json"),
        (json.dumps({"loss": {"0": 3, "1": 2, "2": 1}, "val_loss": {"0": 3.5, "1": 2.5, "2": 1.5}}), "pandas.json"),
        (table("train_loss,val_loss", (3, 3.5), (2, 2.5), (1, 1.5)), "no_axis.csv"),
        (table("epoch,train_loss,val_loss", (0, 3, 3.5), (0, 2, 2.5), (0, 1, 1.5)), "constant.csv"),
        (table("step,train_loss,val_loss", (0, 3, 3.5), (0, 2, 2.5), (0, 1, 1.5)), "steps_of_0.csv"),
        (table("Step,a - train_loss,a - val_loss", (0, 3, 3.5), (1, 2, 2.5), (2, 1, 1.5)), "wandb.csv"),
    ],
)
def test_what_is_only_an_order_is_said_to_be_one(write, content, name):
    history = read_metrics(write(content, name))
    assert (history.series, history.axis.kind, "not optimizer steps" in history.axis.sentence()) == (BOTH, "log calls", True)


def test_steps_within_an_epoch_are_no_optimizer_steps(write):
    rows = [(epoch, step, 10 - 3 * epoch - step) for epoch in range(4) for step in range(3)]
    history = read_metrics(write(table("epoch,step,train_loss", *rows)))
    assert (history.axis.kind, history.series["train_loss"]) == (
        "log calls",
        (list(range(12)), [10.0 - each for each in range(12)]),
    )
    assert "begins anew with every `epoch`" in history.notes[0]


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("loss/train", "train_loss"),
        ("loss/val", "heldout_loss"),
        ("Train Loss", "train_loss"),
        ("train-loss", "train_loss"),
        ("trainLoss", "train_loss"),
        ("eval_loss", "heldout_loss"),
        ("Loss/validation", "heldout_loss"),
        ("loss/train/total", "train_loss"),
        ("metrics/eval/LanguageCrossEntropy", "heldout_loss"),
        ("val/cross_entropy_loss", "heldout_loss"),
        ("valid_acc1", "heldout_accuracy"),
        ("eval_top1", "heldout_accuracy"),
        ("val/acc@1", "heldout_accuracy"),
        ("train_acc_step", "train_accuracy"),
        ("my run - 2 - val/loss", "heldout_loss"),
        ("val_sparse_categorical_accuracy", "heldout_accuracy"),
        ("dev ppl", "heldout_loss"),
        ("loss", "train_loss"),
    ],
)
def test_spellings_are_understood(column, name):
    assert meaning_of(column).name == name


@pytest.mark.parametrize(
    "column",
    ["val_top5_acc", "lr", "best_val_loss", "train/loss__MIN", "grad_norm", "learning_rate", "eval_runtime", "loss_time", "val_f1", "samples"],  # noqa: E501
)  # fmt: skip
def test_what_is_no_loss_or_accuracy_is_not_taken_for_one(column):
    assert meaning_of(column) is None


def test_terms_of_a_loss_are_not_taken_for_it(write):
    rows = [(step, 1, 2, 3) for step in range(3)]
    with pytest.raises(MetricsError, match=r"Say which is which: .*--columns train_loss=train/box_loss"):
        read_metrics(write(table("step,train/box_loss,train/cls_loss,val/box_loss", *rows)))


def test_columns_are_named_where_their_names_do_not_tell(write):
    path = write(table("t,foo,train/box_loss", (0, 3.5, 3), (1, 2.5, 2), (2, 1.5, 1)))
    history = read_metrics(path, columns={"step": "t", "train_loss": "train/box_loss", "heldout_loss": "foo"})
    assert (history.series, history.axis.column) == (BOTH, "t")


def test_a_column_that_is_not_there_is_told_with_those_that_are(write):
    with pytest.raises(MetricsError, match=r"no column `nothing` with values\. There are `step`, `train_loss`, `val_loss`"):
        read_metrics(write(PLAIN), columns={"train_loss": "nothing"})


TWO_RUNS = table("Step,a - train/loss,b - val/loss,b - train/loss,a - val/loss", (0, 3, 9, 8, 3.5), (1, 2, 9, 8, 2.5), (2, 1, 9, 8, 1.5))  # fmt: skip  # noqa: E501
ONE_COLUMN = table("run,step,train_loss,val_loss", *((r, s, v - s, v + 0.5 - s) for r, v in (("a", 3), ("b", 9)) for s in range(3)))  # fmt: skip  # noqa: E501
AGAIN = PLAIN + "0,9,9\n1,9,9\n2,9,9\n"


@pytest.mark.parametrize(("content", "run"), [(TWO_RUNS, "a"), (TWO_RUNS, "1"), (ONE_COLUMN, "a"), (AGAIN, "1")])
def test_one_run_of_several_is_read_by_name_or_number(write, content, run):
    history = read_metrics(write(content), run=run)
    assert (history.series, history.run) == (BOTH, "a" if content != AGAIN else "1")


@pytest.mark.parametrize("content", [TWO_RUNS, ONE_COLUMN, AGAIN])
def test_two_runs_are_never_mixed(write, content):
    with pytest.raises(MetricsError, match=r"2 runs are in it .*--run (a|1)$"):
        read_metrics(write(content))
    with pytest.raises(MetricsError, match="no run 'c' in it"):
        read_metrics(write(content), run="c")


def test_a_fold_that_goes_on_in_steps_is_no_other_run(write):
    assert read_metrics(write(table("fold,step,train_loss", ("x", 0, 3), ("y", 1, 2), ("z", 2, 1)))).series == LOSS


def test_what_was_written_last_counts_after_a_crash(write):
    rows = [(step, 10 - step, "" if step % 2 else 20 - step) for step in range(8)]
    after = [(step, 110 - step, "" if step % 2 else 120 - step) for step in range(5, 9)]
    history = read_metrics(write(table("step,train_loss,val_loss", *rows, *after)))
    assert history.series["train_loss"] == (list(range(9)), [10.0, 9, 8, 7, 6, 105, 104, 103, 102])
    assert history.series["heldout_loss"] == ([0, 2, 4, 6, 8], [20.0, 18, 16, 114, 112])
    assert "line 10: steps go back to 5" in history.notes[0]


def test_a_sanity_check_before_training_is_replaced_by_what_follows(write):
    history = read_metrics(write(table("step,train_loss,val_loss", (0, "", 9), (0, 3, 3.5), (1, 2, 2.5), (2, 1, 1.5))))
    assert history.series == BOTH and "3.5 after 9 at the same step 0" in history.notes[0]


def test_rows_in_the_order_of_names_are_sorted(write):
    steps = sorted(range(0, 120, 5), key=str)
    assert read_metrics(write(table("step,train_loss", *((step, step) for step in steps)))).series["train_loss"][
        0
    ] == sorted(steps)


def test_infinity_as_mlflow_keeps_it(write):
    rows = [(0, 1), (1, 1.797e308), (2, -1.7976931348623157e308), (3, 1.7976931348623157e308)]
    values = read_metrics(write(table("step,train_loss", *rows))).series["train_loss"][1]
    assert values == [1.0, math.inf, -math.inf, math.inf]


def test_weights_that_broke_are_not_taken_for_what_was_not_logged(write):
    rows = [(0, 3, 3.5), (1, 2, "nan"), (2, "nan", "nan"), (3, "nan", "nan")]
    series = read_metrics(write(table("step,train_loss,val_loss", *rows))).series
    assert [math.isnan(value) for value in series["train_loss"][1]] == [False, False, True, True]


def test_percentages_are_read_as_shares(write):
    history = read_metrics(write(table("step,train_loss,val_acc", (0, 3, 10), (1, 2, 50), (2, 1, "97.5%"))))
    assert history.series["heldout_accuracy"][1] == [0.1, 0.5, 0.975] and "percentages" in history.notes[0]


@pytest.mark.parametrize("wrong", [-0.5, 180])
def test_an_accuracy_that_is_neither_names_its_line_and_column(write, wrong):
    with pytest.raises(MetricsError, match=r"metrics\.csv, line 4, column `val_acc`: .* neither a share"):
        read_metrics(write(table("step,train_loss,val_acc", (0, 3, 0.5), (1, 2, 0.5), (2, 1, wrong))))


def family(own_until):
    rows = [(step, 3.0, 4.0, *((1.0, 2.0) if step < own_until else ("", ""))) for step in range(100)]
    return table("step,train_loss,val_loss,interp/train_loss,interp/heldout_loss", *rows)


@pytest.mark.parametrize(("own_until", "values"), [(100, (1.0, 2.0)), (20, (3.0, 4.0))])
def test_curves_are_of_one_family_and_one_that_ends_early_does_not_decide(write, own_until, values):
    series = read_metrics(write(family(own_until))).series
    assert (series["train_loss"][1][0], series["heldout_loss"][1][0]) == values


def test_an_accuracy_that_ends_early_does_not_decide(write):
    rows = [(step, 3, 4, 0.9 if step < 30 else "") for step in range(100)]
    history = read_metrics(write(table("step,train_loss,val_loss,val_acc", *rows)))
    assert "heldout_accuracy" not in history.series and "`val_acc` holds steps 0 to 29 of 99 only" in history.notes[0]


def test_series_in_files_of_their_own_are_read_together(write):
    files = [
        write(table("Wall time,Step,Value", *((9, step, first - step) for step in range(3))), f"run-a-tag-{name}.csv")
        for name, first in (("train_loss", 3), ("val_loss", 3.5))
    ]
    assert read_metrics(files).series == BOTH
    with pytest.raises(MetricsError, match="no loss or accuracy"):
        read_metrics(write(table("Wall time,Step,Value", (9, 0, 1)), "unnamed.csv"))


def test_mlflow_series_are_read_from_their_folder_and_as_files(write, tmp_path):
    for name, first in (("train_loss", 3), ("val/loss", 3.5)):
        write("".join(f"170000000000{step} {first - step} {step}\n" for step in range(3)), f"run/metrics/{name}")
    write("", "run/meta.yaml")
    files = [tmp_path / "run/metrics/train_loss", tmp_path / "run/metrics/val/loss"]
    assert [read_metrics(given).series for given in (tmp_path, tmp_path / "run", tmp_path / "run/metrics", files)] == [
        BOTH
    ] * 4


def test_mlflow_values_without_steps_are_counted(write, tmp_path):
    write("".join(f"170000000000{at} {3 - at} 0\n" for at in range(3)), "run/metrics/train_loss")
    history = read_metrics(tmp_path / "run")
    assert history.series == LOSS and "their order stands for steps" in history.notes[0]


def test_a_folder_of_dvclive_is_read(write, tmp_path):
    for name, first in (("train/loss", 3), ("val/loss", 3.5)):
        write(
            table("step\tloss", *((step, first - step) for step in range(3)), separator="\t"),
            f"dvclive/plots/metrics/{name}.tsv",
        )
    assert read_metrics(tmp_path / "dvclive").series == BOTH


def test_rows_of_an_epoch_without_a_step_belong_to_the_step_before(write):
    rows = [(0, 5, 3, ""), (0, "", "", 3.5), (1, 9, 2, ""), (1, "", "", 2.5)]
    history = read_metrics(write(table("epoch,step,train_loss,val_loss", *rows)))
    assert history.series["heldout_loss"] == ([5, 9], [3.5, 2.5])


def test_a_torn_exponent_does_not_count(write):
    history = read_metrics(write("step,train_loss\n0,3.0000e-01\n1,5.2000e-05\n2,5.200"))
    assert history.series["train_loss"] == ([0, 1], [0.3, 5.2e-05]) and "cut short" in history.notes[0]


@pytest.mark.parametrize("kind", ["fifo", "device", "loop"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "odd.csv"
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "device" else path)
    with pytest.raises(MetricsError, match=r"odd\.csv: (is a FIFO|is a device|cannot be read)"):
        read_metrics(path)


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"BZh91AY", "m.csv.bz2", "a bzip2 file. Unpack"),
        (b"SQLite format 3\0", "mlflow.db", "a SQLite database"),
        (b"PAR1\x15\x04", "m.parquet", "a Parquet file"),
        (gzip.compress(PLAIN.encode(), mtime=0)[:40], "cut.csv.gz", "damaged or cut short"),
        ("step," + "x" * 9_000_000, "wide.csv", "line 1: over 8,388,608 characters"),
        ('{"a": ' * 100_000, "deep.json", "neither a JSON document nor JSON lines"),
        ('{"name": "run"}', "config.json", "columns with values: `name`|without a history"),
        (table("step,train_loss", (2**63, 1)), "late.csv", "is not a whole number"),
        (table("step,train_loss,val_loss", (0, 1, "x")), "text.csv", "line 2, column `val_loss`: 'x' is not a number"),
        (table("step,train_loss", (0, "1e999x")), "odd.csv", "line 2, column `train_loss`: '1e999x' is not a number"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_what_it_is(write, content, name, message):
    with pytest.raises(MetricsError, match=message):
        read_metrics(write(content, name))


def test_a_folder_of_tables_names_the_files_to_give_together(write, tmp_path):
    write(PLAIN, "logs/train.csv")
    write(PLAIN, "logs/val.csv")
    with pytest.raises(MetricsError, match=r"give them together: lightning-interp phases .*logs/train\.csv .*logs/val\.csv"):
        read_metrics(tmp_path / "logs")


def test_an_accuracy_without_its_data_is_the_training_s_where_nothing_is_held_out(write):
    history = read_metrics(write(table("step,train_loss_step,acc_step", (0, 3, 0.5), (1, 2, 0.75))))
    assert history.series["train_accuracy"] == ([0, 1], [0.5, 0.75])


def test_a_guess_of_the_data_and_a_single_value_are_said(write):
    guessed = read_metrics(write(table("Loss,Accuracy", (3, 0.5), (2, 0.75)), "guess.csv"))
    single = read_metrics(write(table("step,train_loss", (5, 3)), "single.csv"))
    assert "of which data is not said" in guessed.notes[0] and "one value only" in single.notes[0]


def test_a_long_first_line_of_json_lines_is_no_document(write):
    lines = [json.dumps({"epoch": step, "train_loss": 3 - step, "per_class": [0.5] * 2000}) for step in range(3)]
    assert read_metrics(write("\n".join(lines) + "\n", "log.txt")).series == LOSS
