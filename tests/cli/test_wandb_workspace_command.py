# SPDX-License-Identifier: Apache-2.0
"""The `wandb-workspace` command: the view's JSON against the keys that the monitor logs, without network."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, NoReturn

import pytest

from lightning_interp.cli.main import main
from lightning_interp.dashboards.loggers import workspace as workspace_module
from lightning_interp.dashboards.loggers.rows import row_keys
from lightning_interp.measures import CyclicGroupTask, resolve_measures, scalar_names

TASK = CyclicGroupTask(13, "add", embedding="embedding.weight", unembedding="unembedding.weight", mlp_out="mlp_out.weight")
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style")  # wandb-workspaces 0.4, when it is imported
COMPONENTS = ("component/mlp_act/0", "component/blocks.0/mlp#1/1")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Any connection fails the test; no key lies in the environment or in a file."""

    def refuse(*arguments: Any) -> NoReturn:
        raise AssertionError(f"a connection to {arguments[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setenv("NETRC", "/dev/null")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    yield


@pytest.fixture
def view(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["wandb-workspace", "--entity", "team", "--project", "grokking", "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def sections(view: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Panels by the title of their section."""
    return {each["name"]: each["panels"] for each in view["spec"]["section"]["panelBankConfig"]["sections"]}


def line_plots(view: dict[str, Any]) -> list[dict[str, Any]]:
    panels = [panel for panels in sections(view).values() for panel in panels]
    return [panel["config"] for panel in panels if panel["viewType"] == "Run History Line Plot"]


def logged_keys() -> set[str]:
    """Every scalar key the monitor logs, of a declared task and with components, but for the step."""
    names = scalar_names(resolve_measures("standard", task=TASK))
    return set(row_keys((*names, *COMPONENTS))) - {"interp/step"}


def test_view_has_the_sections(view: dict[str, Any]) -> None:
    assert list(sections(view)) == ["losses", "phases", "weights", "activations", "components", "figures"]
    assert (view["entity"], view["project"], view["displayName"]) == ("team", "grokking", "Learning phases")


def test_view_shows_every_key_that_is_logged_and_no_other(view: dict[str, Any]) -> None:
    shown = [key for plot in line_plots(view) for key in plot.get("metrics", [])]
    patterns = [plot["metricRegex"] for plot in line_plots(view) if plot.get("useMetricRegex")]
    by_name = {key for key in logged_keys() if not any(re.match(pattern, key) for pattern in patterns)}
    assert sorted(shown) == sorted(by_name), "each once"
    assert {f"interp/{name}" for name in COMPONENTS} == logged_keys() - by_name


def test_every_plot_is_over_the_snapshot_s_step_on_a_log_axis_and_not_smoothed(view: dict[str, Any]) -> None:
    for plot in line_plots(view):
        assert (plot["xAxis"], plot["xLogScale"], plot["smoothingType"]) == ("interp/step", True, "none")
    settings = view["spec"]["section"]["settings"]
    assert (settings["xAxis"], settings["smoothingType"], settings["smoothingWeight"]) == ("interp/step", "none", 0)


def test_runs_are_grouped_by_verdict_and_keep_their_own_lines(view: dict[str, Any]) -> None:
    (runs,) = view["spec"]["section"]["runSets"]
    assert runs["grouping"] == [{"section": "summary", "name": "interp/verdict"}]
    assert runs["sort"]["keys"][0]["key"] == {"section": "summary", "name": "interp/grokking_step_bound"}
    local = [each["localPanelSettings"] for each in view["spec"]["section"]["panelBankConfig"]["sections"]]
    assert not any(settings["useRunsTableGroupingInPanels"] for settings in local)


def test_figures_are_the_keys_of_figures(view: dict[str, Any]) -> None:
    keys = [key for panel in sections(view)["figures"] for key in panel["config"]["mediaKeys"]]
    assert keys[:2] == ["interp/timeline", "interp/figures/losses"]
    assert set(keys[1:]) == {f"interp/figures/{key}" for key in workspace_module.FIGURES}


def test_without_a_key_the_view_is_printed_and_not_sent(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wandb-workspace", "--entity", "team", "--project", "grokking", "--name", "Seeds"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["displayName"] == "Seeds"
    assert "No W&B key here" in captured.err


def test_without_the_package_the_extra_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace_module, "find_spec", lambda _: None)
    assert main(["wandb-workspace", "--entity", "team", "--project", "grokking"]) == 2
    assert "pip install 'lightning-interp[workspace]'" in capsys.readouterr().err


def test_a_name_that_wandb_refuses_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wandb-workspace", "--entity", "team", "--project", "grokking", "--name", "\N{ROCKET}", "--json"]) == 2
    assert "W&B refuses the view" in capsys.readouterr().err


def test_help_is_quick_and_loads_no_heavy_package() -> None:
    code = (
        "import sys; from lightning_interp.cli.main import main; code = main(['wandb-workspace', '--help']); "
        "print(code, [m for m in ('torch', 'numpy', 'wandb', 'wandb_workspaces') if m in sys.modules])"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
    assert time.monotonic() - began < 5.0, "half a second on an idle machine"


class Server(BaseHTTPRequestHandler):
    """Answers what saving a view asks of W&B, and keeps what it was sent."""

    saved: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = json.loads(body) if self.path == "/graphql" else {"query": ""}
        answer: dict[str, Any] = {"data": {"viewer": {"id": "VXNlcjox", "username": "u", "entity": "team", "flags": "{}"}}}
        if "upsertView" in asked["query"]:
            self.saved.append(asked["variables"])
            view = {"id": "Vmlldzox", "name": asked["variables"]["name"]}
            answer = {"data": {"upsertView": {"view": view, "inserted": True}}}
            if asked["variables"]["projectName"] == "secret":
                answer = {"data": None, "errors": [{"message": "permission denied", "path": ["upsertView"]}]}
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        """Nothing."""


def save(project: str) -> "subprocess.CompletedProcess[str]":
    """Save the view at a server of our own, by the command as people call it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        command = [sys.executable, "-m", "lightning_interp.cli.main", "wandb-workspace", "--entity", "team"]
        environment = {**os.environ, "WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": address}
        environment.pop("WANDB_MODE", None)
        done = subprocess.run(
            [*command, "--project", project], capture_output=True, text=True, env=environment, check=False, timeout=120
        )
        server.shutdown()
    done.stdout = done.stdout.replace(address, "ADDRESS")
    return done


def test_a_saved_view_is_announced_with_its_address(view: dict[str, Any]) -> None:
    done = save("grokking")
    sent = Server.saved[-1]
    name = sent["name"].removeprefix("nw-").removesuffix("-v")
    assert done.stdout == f"Saved the view 'Learning phases': ADDRESS/team/grokking?nw={name}\n", done.stderr
    assert (done.returncode, sent["entityName"], sent["displayName"]) == (0, "team", "Learning phases")
    titles = [each["name"] for each in json.loads(sent["spec"])["section"]["panelBankConfig"]["sections"]]
    assert titles == list(sections(view))


def test_a_view_that_wandb_does_not_save_is_a_failure() -> None:
    done = save("secret")
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: team/secret: W&B did not save the view (" in done.stderr
