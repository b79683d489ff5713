# SPDX-License-Identifier: Apache-2.0
"""MLflow: a real server on a local SQLite file, asked through its own client."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from lightning.pytorch.loggers import MLFlowLogger
from mlflow.tracking import MlflowClient
from small_training import fit

from lightning_interp import TCA, InterpMonitor, Run, open_run

SERVER_S = 120.0


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server of its own."""
    root, port = tmp_path_factory.mktemp("mlflow"), free_port()
    address = f"http://127.0.0.1:{port}"
    places = ["--backend-store-uri", f"sqlite:///{root}/m.db", "--artifacts-destination", str(root / "artifacts")]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        *places,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (root / "log").open("w") as log:
        process = subprocess.Popen(command, env={**os.environ, **quiet}, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(address, process, root / "log")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def wait_for(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + SERVER_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
                assert answer.status == 200
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"no MLflow server: {log.read_text()[-2000:]}")


class Logged:
    """One training with an MLFlowLogger."""

    def __init__(self, root: Path, address: str) -> None:
        logger = MLFlowLogger("phases", tracking_uri=address)
        tca = TCA(ranks="1:2", every=2, restarts=1)
        monitor = InterpMonitor(root / "run", background="inline", every_n_steps=5, layers="net.1", tca=tca)
        fit(root, monitor, max_steps=40, logger=logger)
        self.run: Run = open_run(root / "run")
        self.client, self.run_id = MlflowClient(address), str(logger.run_id)

    def history(self, name: str) -> list[tuple[int, float]]:
        """Steps and values of a metric, as the server has them."""
        return [(point.step, point.value) for point in self.client.get_metric_history(self.run_id, name)]


@pytest.fixture(scope="module")
def logged(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIGHTNING_INTERP_REPORT", "1")
        yield Logged(tmp_path_factory.mktemp("training"), server)


def test_mlflow_has_every_record_at_its_own_step(logged: Logged) -> None:
    records = logged.run.all_records
    assert [record.step for record in records] == list(range(0, 41, 5))
    names = {name for record in records for name in record.values}
    assert {"train_loss", "weight_norm_slope", "component/net.1/0"} <= names
    for name in names:
        expected = [(record.step, record.values[name]) for record in records if name in record.values]
        assert logged.history(f"interp/{name}") == expected, name


def test_mlflow_gets_no_value_where_a_record_has_none(logged: Logged) -> None:
    """The slope of the norm and the components need a history: their first rows have no value."""
    assert logged.history("interp/weight_norm_slope")[0][0] > 0
    assert [step for step, _ in logged.history("interp/step")] == list(range(0, 41, 5))


def test_mlflow_has_the_outcome_as_tags(logged: Logged) -> None:
    tags, timeline = logged.client.get_run(logged.run_id).data.tags, logged.run.timeline
    assert timeline is not None and tags["interp.verdict"] == timeline.verdict
    assert tags[f"interp.{timeline.phases[0].name}_start"] == str(timeline.phases[0].start)
    assert tags["interp.grokking_step_bound"] == str(timeline.grokking_step or 40)


def test_mlflow_has_report_and_phases_as_artifacts(logged: Logged, server: str) -> None:
    assert {entry.path for entry in logged.client.list_artifacts(logged.run_id, "interp")} == {
        "interp/report.html",
        "interp/phases.json",
    }
    mlflow.set_tracking_uri(server)
    copy = mlflow.artifacts.download_artifacts(run_id=logged.run_id, artifact_path="interp/report.html")
    assert Path(copy).read_bytes() == (logged.run.path / "report.html").read_bytes()
