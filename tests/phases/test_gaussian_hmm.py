# SPDX-License-Identifier: Apache-2.0
"""The hidden Markov model against hmmlearn, and where hmmlearn has no answer against what must hold."""

import numpy as np
import pytest
from state_sequences import FAR_APART, FAR_POINTS, MODEL, SEQUENCES, oracle

from lightning_interp.phases.gaussian_hmm import GaussianHMM


@pytest.mark.parametrize("points", SEQUENCES)
def test_the_most_likely_path_equals_hmmlearn_s(points):
    assert MODEL.most_likely_path(points).tolist() == oracle(MODEL).decode(points)[1].tolist()


@pytest.mark.parametrize("points", SEQUENCES)
def test_the_filter_at_the_end_equals_hmmlearn_s_smoother_there(points):
    for end in (1, 2, 30, len(points)):
        smoothed = oracle(MODEL).predict_proba(points[:end])[-1]
        assert MODEL.filtered(points[:end])[-1] == pytest.approx(smoothed, abs=1e-10)


def test_the_filter_does_not_see_the_future():
    points = SEQUENCES[0]
    assert np.array_equal(MODEL.filtered(points)[:30], MODEL.filtered(points[:30]))


def test_features_that_were_not_measured_are_left_out():
    points = SEQUENCES[0].copy()
    points[:, 3] = np.nan
    without = GaussianHMM(MODEL.start, MODEL.transition, MODEL.means[:, :3], MODEL.variances[:, :3])
    assert MODEL.log_density(points) == pytest.approx(without.log_density(points[:, :3]), abs=1e-10)


def test_far_points_do_not_underflow():
    # The point at 4 is 2 off state 1 and 4 off state 0: state 1 is the only one left to believe in.
    assert FAR_APART.filtered(FAR_POINTS)[2] == pytest.approx([0, 1, 0], abs=1e-12)
