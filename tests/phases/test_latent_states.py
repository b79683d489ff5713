# SPDX-License-Identifier: Apache-2.0
import math
from itertools import pairwise

import numpy as np
import pytest

from lightning_interp.phases.gaussian_hmm import GaussianHMM
from lightning_interp.phases.latent_states import FEATURES, StateModel, features, latent_states
from lightning_interp.phases.state_model import STATES

WIDTH = len(FEATURES)
TRAIN = list(FEATURES).index("train_loss")


def model():
    """Two states: the train loss high, and the train loss spent."""
    means = np.zeros((2, WIDTH))
    means[1, TRAIN] = -5.0
    hmm = GaussianHMM(np.array([0.9, 0.1]), np.array([[0.9, 0.1], [0.1, 0.9]]), means, np.ones((2, WIDTH)))
    return StateModel("test", hmm, np.zeros(WIDTH), np.ones(WIDTH), np.array([0.5, 0.5]))


def rows(losses):
    return [{"train_loss": loss, "weight_norm": 10.0} for loss in losses]


STEPS = [10 * 2**i for i in range(8)]
LOSSES = [3.0, 3.0, 2.9, 3.0, 0.01, 0.01, 0.01, 0.01]


def test_features_are_relative_to_the_first_record():
    _, found = features(STEPS, rows(LOSSES))
    expected = [math.log(loss / 3.0 + 1e-3) for loss in LOSSES]
    assert found[:, TRAIN] == pytest.approx(expected, abs=1e-12)


def test_what_is_missing_is_nan():
    _, found = features([1], [{"train_loss": 1.0}])
    assert np.isnan(found[0, 1:]).all()


def test_a_first_value_of_zero_is_passed_over():
    _, found = features([1, 2, 4], [{"heldout_margin": value} for value in (0.0, 1.0, 2.0)])
    column = found[:, list(FEATURES).index("heldout_margin")]
    assert np.isnan(column[0]) and column[1:] == pytest.approx([0, math.log(2)])


def test_records_too_close_to_the_last_do_not_count():
    kept, _ = features(range(100, 200), rows([1.0] * 100))
    assert kept[0] == 100 and all(math.log((b + 1) / (a + 1)) >= 0.04 for a, b in pairwise(kept))


def test_states_do_not_depend_on_how_often_is_logged():
    dense = sorted({*STEPS, *range(10, 1281)})
    losses = [3.0 if step < 160 else 0.01 for step in dense]
    found = latent_states(dense, rows(losses), model())
    assert [state for state, _, _ in found.stretches] == [0, 1]
    assert found.stretches[1][1] == pytest.approx(160, rel=0.05)


def test_the_path_follows_the_loss():
    assert latent_states(STEPS, rows(LOSSES), model()).path == (0, 0, 0, 0, 1, 1, 1, 1)


def test_the_filtered_states_use_only_records_up_to_then():
    whole = latent_states(STEPS, rows(LOSSES), model()).filtered
    for until in range(1, len(STEPS) + 1):
        assert np.array_equal(latent_states(STEPS[:until], rows(LOSSES[:until]), model()).filtered, whole[:until])


def test_states_are_described_by_what_stands_out():
    assert [model().describe(state) for state in (0, 1)] == ["nothing stands out", "train loss very low"]


def test_no_records_have_no_states():
    assert latent_states([], [], model()).stretches == []


def test_the_shipped_model_has_every_feature_and_proper_probabilities():
    hmm = STATES.hmm
    assert hmm.means.shape == hmm.variances.shape == (hmm.states, WIDTH)
    # written with four digits each
    assert hmm.start.sum() == pytest.approx(1, abs=1e-3) and hmm.transition.sum(1) == pytest.approx(1, abs=1e-3)
    assert len(STATES.mean) == len(STATES.deviation) == WIDTH and STATES.deviation.min() > 0


def test_the_shipped_model_tells_the_start_from_the_end_of_the_reference_run(histories):
    table = histories.reference()
    rows = [{name: table[name][i] for name in table if name != "step"} for i in range(len(table["step"]))]
    path = latent_states(table["step"], rows, STATES).path
    assert path[0] != path[-1]
