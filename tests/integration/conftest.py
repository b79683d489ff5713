# SPDX-License-Identifier: Apache-2.0
"""Real trainings count on every scheduled step: how fast the machine is must not decide which of them there are."""

from collections.abc import Iterator

import pytest
from patient_monitor import make_patient


@pytest.fixture(scope="module", autouse=True)
def patient_monitors() -> Iterator[None]:
    """Monitors of this process have time and memory enough, also those of fixtures that a whole module shares.

    Processes that a test starts are not reached: they ask for `patient_monitor.PATIENT` themselves.
    """
    with pytest.MonkeyPatch.context() as patch:
        make_patient(patch)
        yield
