# SPDX-License-Identifier: Apache-2.0
"""W&B runs on disk, written by wandb itself."""

from pathlib import Path

import pytest

from lightning_interp.core.errors import MetricsError
from lightning_interp.sources.metrics.history import read_metrics
from lightning_interp.sources.metrics.wandb_run import can_read, matches

STEPS = range(0, 300, 10)
needs_reader = pytest.mark.skipif(not can_read(), reason="this wandb has no reader of runs on disk")
"""At the lowest version, which trainings can use, what is tested is that the reader says so."""


def log_run(root, rows, **more):
    """Log rows to an offline run and return its folder."""
    import wandb

    settings = wandb.Settings(mode="offline", silent=True, console="off", x_disable_stats=True)
    run = wandb.init(project="test", dir=str(root), settings=settings, **more)
    for row in rows:
        run.log(row)
    run.finish()
    return Path(run.settings.sync_file).parent


@pytest.fixture(scope="module")
def lightning_run(tmp_path_factory):
    """As Lightning's logger writes it: train and validation in rows of their own, and W&B's own count of rows beside."""
    rows = [{"note": "before training"}]
    for step in STEPS:
        rows += [{"train_loss": 3 - step / 200, "trainer/global_step": step}]
        rows += [{"val_loss": 3 + step / 100, "trainer/global_step": step}]
    return log_run(tmp_path_factory.mktemp("lightning"), rows)


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory):
    """Without any step of its own."""
    return log_run(tmp_path_factory.mktemp("plain"), [{"train_loss": 3 - row / 20} for row in range(30)])


@needs_reader
def test_a_run_is_read_by_its_optimizer_step(lightning_run):
    assert read_metrics(lightning_run).series["heldout_loss"] == (list(STEPS), [3 + step / 100 for step in STEPS])


@needs_reader
def test_a_run_is_read_from_its_folder_or_its_file(lightning_run):
    assert read_metrics(matches(lightning_run)).series == read_metrics(lightning_run).series


@needs_reader
def test_a_run_without_optimizer_step_is_read_by_wandb_s_own(plain_run):
    assert read_metrics(plain_run).series["train_loss"][0] == list(range(30))


@needs_reader
def test_one_row_with_a_step_does_not_speak_for_all(tmp_path):
    run = log_run(tmp_path, [*({"train_loss": 3 - row / 200} for row in range(100)), {"val_loss": 1.0, "step": 7}])
    assert read_metrics(run).series["train_loss"][0] == list(range(100))


@needs_reader
def test_a_run_that_was_broken_off_is_read_as_far_as_it_goes(lightning_run, tmp_path):
    whole = matches(lightning_run).read_bytes()
    torn = tmp_path / "torn.wandb"
    torn.write_bytes(whole[: 2 * len(whole) // 3])
    steps, _ = read_metrics(torn).series["train_loss"]
    assert 3 < len(steps) < len(STEPS) and steps == list(STEPS)[: len(steps)]


@needs_reader
def test_a_file_that_is_no_run_is_refused(tmp_path):
    (tmp_path / "junk.wandb").write_text("junk")
    with pytest.raises(MetricsError, match=r"junk\.wandb: W&B finds no history"):
        read_metrics(tmp_path)


def test_a_folder_with_several_runs_is_refused(tmp_path):
    for name in ("a.wandb", "b.wandb"):
        (tmp_path / name).write_text("")
    with pytest.raises(MetricsError, match=r"holds 2 W&B runs \(a\.wandb"):
        read_metrics(tmp_path)


@needs_reader
def test_a_missing_reader_is_told(lightning_run, tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_interp.core.child_python.sys.executable", str(tmp_path / "python"))
    with pytest.raises(MetricsError, match="W&B cannot be asked to read it"):
        read_metrics(lightning_run)


@pytest.mark.skipif(can_read(), reason="this wandb reads runs")
def test_a_wandb_that_is_too_old_is_told(tmp_path):
    (tmp_path / "run.wandb").write_text("never looked into")
    with pytest.raises(MetricsError, match=r"needs wandb 0\.31 or newer, this is 0\.\d+\.\d+\. Or export"):
        read_metrics(tmp_path)


def test_a_table_exported_from_the_web_page_is_read(tmp_path):
    table = tmp_path / "export.csv"
    table.write_text("Step,brave-sun-3 - train_loss,brave-sun-3 - train_loss__MIN\n0,3.5,3.5\n10,2.5,2.5\n")
    history = read_metrics(table)
    assert (history.series, history.unused) == ({"train_loss": ([0, 10], [3.5, 2.5])}, ("brave-sun-3 - train_loss__MIN",))


@pytest.fixture(scope="module")
def watched_run(tmp_path_factory):
    """A Lightning training under the monitor: its rows come late, and are fewer than those of the training itself."""
    rows = [{"score": 3 + step / 100, "trainer/global_step": step} for step in STEPS]
    for step in range(0, 300, 100):
        rows += [{"interp/heldout_loss": 2 + step / 100, "interp/step": step, "trainer/global_step": 290}]
    return log_run(tmp_path_factory.mktemp("watched"), rows)


WATCHED = {"heldout_loss": ([0, 100, 200], [2.0, 3.0, 4.0])}


@needs_reader
def test_the_monitor_s_own_rows_are_read_at_their_own_steps(watched_run):
    assert read_metrics(watched_run).series == WATCHED


@needs_reader
def test_w_and_b_s_count_is_no_step_beside_rows_of_the_monitor(tmp_path):
    rows = [{"score": 1.0}] * 9 + [{"interp/heldout_loss": 2.0 + step, "interp/step": step} for step in (0, 1)]
    assert read_metrics(log_run(tmp_path, rows)).series == {"heldout_loss": ([0, 1], [2.0, 3.0])}


@pytest.mark.parametrize(
    "text",
    [
        "_step,interp/step,trainer/global_step,val_loss,interp/heldout_loss\n0,,49,9,\n1,0,99,,2\n2,100,99,,3\n3,200,99,,4\n",
        "_step,interp/step,note,interp/heldout_loss\n0,,9,\n1,0,,2\n2,100,,3\n3,200,,4\n",
        '{"_step": 0, "interp/step": null, "trainer/global_step": 49, "val_loss": 9, "interp/heldout_loss": null}\n'
        '{"_step": 1, "interp/step": 0, "trainer/global_step": 99, "val_loss": null, "interp/heldout_loss": 2}\n'
        '{"_step": 2, "interp/step": 100, "trainer/global_step": 99, "val_loss": null, "interp/heldout_loss": 3}\n'
        '{"_step": 3, "interp/step": 200, "trainer/global_step": 99, "val_loss": null, "interp/heldout_loss": 4}\n',
    ],
    ids=["csv", "csv-without-optimizer-step", "jsonl"],
)
def test_an_exported_history_may_hold_rows_without_the_monitor_s_step(tmp_path, text):
    path = tmp_path / "history.csv"
    path.write_text(text)
    assert read_metrics(path).series["heldout_loss"] == WATCHED["heldout_loss"]


@needs_reader
def test_a_run_that_logs_only_epochs_is_read_by_log_calls(tmp_path):
    rows = [{"train_loss": 3 - row / 20, "epoch": row // 2} for row in range(30)]
    history = read_metrics(log_run(tmp_path, rows))
    assert (history.axis.kind, history.series["train_loss"][0]) == ("log calls", list(range(30)))
    assert "not optimizer steps" in history.axis.sentence()


@needs_reader
def test_a_step_of_one_s_own_that_goes_back_after_a_crash_starts_anew(tmp_path):
    rows = [{"train_loss": 10.0 - step, "step": step} for step in range(8)]
    rows += [{"train_loss": 110.0 - step, "step": step} for step in range(5, 9)]
    history = read_metrics(log_run(tmp_path, rows))
    assert history.series["train_loss"] == (list(range(9)), [10.0, 9, 8, 7, 6, 105, 104, 103, 102])
    assert any("steps go back to 5" in note for note in history.notes)


@pytest.fixture(scope="module")
def resumed_run(tmp_path_factory):
    """Two folders of one run id; the second goes on at step 30."""
    root = tmp_path_factory.mktemp("resumed")
    first = [{"train_loss": 9.0 - step / 10, "trainer/global_step": step} for step in range(0, 50, 10)]
    second = [{"train_loss": 99.0 - step / 10, "trainer/global_step": step} for step in range(30, 80, 10)]
    return [log_run(root, rows, id="abc123", resume="allow") for rows in (first, second)]


@needs_reader
def test_folders_of_one_run_are_one_history(resumed_run):
    whole = ([0, 10, 20, 30, 40, 50, 60, 70], [9.0, 8.0, 7.0, 96.0, 95.0, 94.0, 93.0, 92.0])
    parent = resumed_run[0].parent
    assert [read_metrics(given).series["train_loss"] for given in (resumed_run, parent, parent.parent)] == [whole] * 3


@needs_reader
def test_one_start_of_several_says_that_there_are_others(resumed_run):
    history = read_metrics(resumed_run[1])
    assert history.series["train_loss"][0] == [30, 40, 50, 60, 70]
    assert any(resumed_run[0].name in note and "has others" in note for note in history.notes)


@needs_reader
def test_folders_of_two_runs_are_not_one(lightning_run, resumed_run):
    with pytest.raises(MetricsError, match="2 runs"):
        read_metrics([lightning_run, resumed_run[0]])
