# SPDX-License-Identifier: Apache-2.0
"""The latent states as a score: how many runs that were seen in such a state generalized later."""

import numpy as np
from scoring.courses import Course
from scoring.runs import ScoredRun

from lightning_interp.phases.history_table import rows_of
from lightning_interp.phases.latent_states import FEATURES, StateModel, latent_states


def state_course(run: ScoredRun, model: StateModel) -> Course:
    """Share of generalizing runs of the states a run is in, by the forward filter: causal."""
    rows = list(rows_of(run.history(), tuple(FEATURES)))
    found = latent_states([step for step, _ in rows], [values for _, values in rows], model)
    return Course(np.array(found.steps, float), found.filtered @ model.generalizing)
