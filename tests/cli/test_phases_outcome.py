# SPDX-License-Identifier: Apache-2.0
"""The `phases` command where another number counts, of several loaders, and what it is told of a constant predictor."""

import json
import math

import pytest

from lightning_interp.cli.main import main
from lightning_interp.core.timeline import Timeline

STEPS = [*range(10), *range(10, 400, 6)]


def table(tmp_path, **columns):
    """A metrics file with a value of each column at each step."""
    path = tmp_path / "metrics.csv"
    names = [name.replace("__", "/") for name in columns]
    rows = [",".join([str(step), *(repr(float(value(step))) for value in columns.values())]) for step in STEPS]
    path.write_text("\n".join([",".join(["step", *names]), *rows]))
    return path


def fitted(step):
    """A train loss that is fitted by step 60 or so."""
    return 2.0 * math.exp(-step / 10) + 1e-3


def late(step):
    return 0.2 if step < 300 else 0.99


def run_json(capsys, *arguments):
    assert main(["phases", *map(str, arguments), "--json"]) == 0
    out = capsys.readouterr()
    return Timeline.from_dict(json.loads(out.out)), out.err


def test_a_column_of_ones_own_decides(capsys, tmp_path):
    path = table(tmp_path, train_loss=fitted, val_acc=lambda step: 0.99, val__f1=late)
    plain, _ = run_json(capsys, path, "--classes", 5)
    found, _ = run_json(capsys, path, "--classes", 5, "--outcome", "val/f1")
    assert plain.evidence["t_gen"] is not None and plain.evidence["t_gen"] < 300 <= found.evidence["t_gen"]


def test_a_value_that_stays_the_same_counts_in_every_row(capsys, tmp_path):
    path = table(tmp_path, train_loss=fitted, val__f1=lambda step: 1.0)
    assert run_json(capsys, path, "--outcome", "val/f1")[0].evidence["t_gen"] is not None


def test_the_null_of_the_outcome_is_that_of_the_detector(capsys, tmp_path):
    path = table(tmp_path, train_loss=fitted, val__bleu=lambda step: 100 * late(step))
    found, err = run_json(capsys, path, "--outcome", "val/bleu", "--outcome-null", 20, "--outcome-best", 100)
    assert found.evidence["null"]["error"]["value"] == pytest.approx(0.8)
    assert found.evidence["null"]["error"]["source"] == "given as the null of val/bleu"
    assert err == ""


def test_less_is_better_of_an_outcome_in_the_place_of_the_loss(capsys, tmp_path):
    path = table(tmp_path, train_loss=fitted, val_loss=lambda step: 9.0, val_acc=late, val__wer=lambda step: 1 - late(step))
    found, _ = run_json(capsys, path, "--outcome", "val/wer", "--outcome-null", 1)
    assert "heldout_accuracy" in found.evidence["series"]["absent"]
    assert found.evidence["null"]["loss"]["value"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--outcome", "val/F1"], "no column 'val/F1'; logged are val/f1"),
        (["--outcome", "val/quality"], "does not tell whether more is better"),
        (["--outcome", "max:steps_done"], "reaches 394, over the 1 that counts as perfect. Give --outcome-best"),
        (["--outcome-null", "0.5"], "say more of --outcome NAME"),
        (["--null-loss", "0"], "expected a loss over 0, got '0'"),
        (["--null-error", "1.5"], "expected a share over 0, up to 1, got '1.5'"),
        (["--null-error", "nan"], "got 'nan'"),
    ],
)
def test_phases_says_what_an_argument_must_be(capsys, tmp_path, arguments, message):
    path = table(tmp_path, train_loss=fitted, val__f1=late, steps_done=float)
    assert main(["phases", str(path), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_an_estimated_null_is_one_line_that_asks_for_it(capsys, tmp_path):
    path = table(tmp_path, train_loss=fitted, val_loss=lambda step: 2.5)
    _, err = run_json(capsys, path)
    asked = "stands for it; give --classes or --null-loss.\n"
    assert err.startswith("The loss of a constant predictor is not known, 2.5 (") and err.endswith(asked)
    for given in (["--null-loss", "2.2"], ["--classes", "9"]):
        assert run_json(capsys, path, *given)[1] == ""


def test_the_line_asks_for_what_the_verdict_rests_on(capsys, tmp_path):
    path = table(tmp_path, train_loss=fitted, val_loss=lambda step: 2.5, val_acc=late, val__f1=late)
    assert run_json(capsys, path)[1] == ""  # accuracy began under a half: no class is that much commoner than the others
    high = tmp_path / "high"
    high.mkdir()
    always = table(high, train_loss=fitted, val_loss=lambda step: 2.5, val_acc=lambda step: 0.9 + 0.05 * late(step))
    assert run_json(capsys, always)[1].endswith("give --classes or --null-error.\n")
    assert run_json(capsys, always, "--null-error", "0.1")[1] == ""
    assert run_json(capsys, path, "--outcome", "val/f1")[1].endswith("give --outcome-null.\n")
    of_classes = run_json(capsys, path, "--outcome", "val/f1", "--classes", "4")[1]
    assert "as val/f1 is not known, 0.25 stands for it" in of_classes
    assert run_json(capsys, path, "--outcome", "val/f1", "--outcome-null", "0.1")[1] == ""


def test_given_nulls_reach_the_detector(capsys, tmp_path):
    path = table(tmp_path, train_loss=fitted, val_loss=lambda step: 2.5, val_acc=late)
    found, _ = run_json(capsys, path, "--null-loss", "1.5", "--null-error", "0.25")
    assert {name: level["value"] for name, level in found.evidence["null"].items()} == {"loss": 1.5, "error": 0.25}
    assert found.evidence["null"]["loss"]["source"] == "given on the command line"


def test_a_run_directory_knows_its_nulls(capsys, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"schema": 1}))
    facts = {"n_classes": 5, "null_loss": 1.4, "null_error": 0.7, "null_source": "of the probe", "heldout_examples": 50}
    (tmp_path / "analysis.json").write_text(json.dumps(facts))
    lines = [
        {"step": s, "attempt": 0, "values": {"train_loss": fitted(s), "heldout_loss": 2.0, "heldout_accuracy": late(s)}}
        for s in STEPS
    ]
    (tmp_path / "records.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    found, err = run_json(capsys, tmp_path)
    assert {name: level["value"] for name, level in found.evidence["null"].items()} == {"loss": 1.4, "error": 0.7}
    assert (found.evidence["null"]["loss"]["source"], err) == ("of the probe", "")


def test_columns_of_each_loader_give_a_timeline(capsys, tmp_path):
    columns = {
        "train_loss": fitted,
        "val_loss__dataloader_idx_0": fitted,
        "val_loss__dataloader_idx_1": lambda step: 2 + step / 100,
    }
    path = table(tmp_path, **columns)
    found, _ = run_json(capsys, path, "--classes", 9)
    assert found.verdict == "early_generalization"
    assert {name: other.verdict for name, other in found.loaders.items()} == {"dataloader_idx_1": "memorization_only"}
    assert main(["phases", str(path), "--classes", "9"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "val_loss/dataloader_idx_1 → heldout_loss/dataloader_idx_1" in text
    assert "dataloader_idx_1: memorization only since step" in text
