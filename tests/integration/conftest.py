# SPDX-License-Identifier: Apache-2.0
"""Real trainings count on every scheduled step: how fast the machine is must not decide which of them there are."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from patient_monitor import make_patient
from small_training import fit

from lightning_interp import InterpMonitor


@pytest.fixture(scope="module", autouse=True)
def patient_monitors() -> Iterator[None]:
    """Monitors of this process have time and memory enough, also those of fixtures that a whole module shares.

    Processes that a test starts are not reached: they ask for `patient_monitor.PATIENT` themselves.
    """
    with pytest.MonkeyPatch.context() as patch:
        make_patient(patch)
        yield


@pytest.fixture(scope="session")
def default_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run directory of the one training with `InterpMonitor()` as it comes, its analyzer in a process: for reading only."""
    root = tmp_path_factory.mktemp("default")
    with pytest.MonkeyPatch.context() as patch:
        make_patient(patch)  # what a session shares is made before what a module does
        monitor = InterpMonitor()
        fit(root, monitor)
    assert monitor.run_dir is not None
    return monitor.run_dir
