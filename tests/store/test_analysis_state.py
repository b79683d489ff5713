# SPDX-License-Identifier: Apache-2.0
from lightning_interp.core.null_predictor import NullPredictor
from lightning_interp.store.analysis_state import AnalysisState, read_state
from lightning_interp.store.layout import ANALYSIS


def test_read_state_begins_anew_where_the_file_is_damaged(tmp_path):
    (tmp_path / ANALYSIS).write_text("{")
    assert read_state(tmp_path) == AnalysisState()


def test_state_says_each_thing_once(tmp_path):
    state = AnalysisState()
    state.notice("a"), state.notice("b"), state.notice("a")
    state.write(tmp_path)
    assert read_state(tmp_path).notices == ["a", "b"]


def test_state_keeps_what_a_constant_prediction_gets(tmp_path):
    state = AnalysisState(n_classes=5)
    state.learn_null(NullPredictor(1.5, 0.75, "entropy", None, 40))
    state.write(tmp_path)
    assert read_state(tmp_path).null == NullPredictor(1.5, 0.75, "entropy", 5, 40)


def test_a_file_of_an_earlier_version_knows_nothing_of_it(tmp_path):
    (tmp_path / ANALYSIS).write_text('{"n_classes": 7, "route": "pair"}')
    assert read_state(tmp_path).null == NullPredictor(n_classes=7)


def test_state_takes_back_what_is_no_longer_so():
    state = AnalysisState(notices=["only weights are measured: no module", "b"])
    state.drop("only weights are measured")
    assert state.notices == ["b"]


def test_a_run_of_an_earlier_version_goes_on_to_count_by_examples(tmp_path):
    (tmp_path / ANALYSIS).write_text('{"route": "validation_step"}')
    assert read_state(tmp_path).mean_over == "examples"
    AnalysisState(route="validation_step").write(tmp_path)
    assert read_state(tmp_path).mean_over is None
