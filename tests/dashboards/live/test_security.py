# SPDX-License-Identifier: Apache-2.0
"""What the server of the live page answers: to whom, by which methods, and that no path leads out of the runs."""

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from reference_run import make_reference_run

from lightning_interp.dashboards.live.app import make_app
from lightning_interp.dashboards.live.known_runs import KnownRuns
from lightning_interp.dashboards.live.security import content_policy, is_loopback, trusted_hosts
from lightning_interp.dashboards.live.server import LiveServer, listen

SECRET = "a secret beside the run"
KEPT_OUT = [
    "/../secret.txt",
    "/%2e%2e/secret.txt",
    "/assets/../../../secret.txt",
    "/assets/%2e%2e/%2e%2e/security.py",
    "/assets/..%2fsecurity.py",
    "/assets//etc/passwd",
    "/_dash-component-suites/dash/../../../../../etc/passwd",
    "/_dash-component-suites/os/os.py",
    "/_dash-component-suites/lightning_interp/cli/main.py",
    "/static/../app.py",
    "/run/run.json",
    "/run.json",
    "/_reload-hash",
    "/_mcp",
    "/anything",
]


class Asked:
    """One answer of the server."""

    def __init__(
        self, url: str, path: str, *, method: str = "GET", host: str | None = None, body: bytes | None = None
    ) -> None:
        place = urlsplit(url)
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host or place.netloc)
        if body is not None:
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        self.status, self.headers, self.text = answer.status, answer.headers, answer.read().decode(errors="replace")
        connection.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "secret.txt").write_text(SECRET, encoding="utf-8")
    run = make_reference_run(folder, name="run", last_step=500)
    server = LiveServer(make_app(KnownRuns([run]), interval_s=1.0, hosts=trusted_hosts("127.0.0.1")), listen("127.0.0.1", 0))
    yield server.url
    server.close()


def test_server_gives_the_page_and_what_it_is_made_of(url):
    page = Asked(url, "/")
    assert page.status == 200
    assert '<html lang="en">' in page.text
    assert {Asked(url, path).status for path in ("/_dash-layout", "/_dash-dependencies", "/assets/live.js")} == {200}


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8050", "127.0.0.1.evil.example", "localhost.evil.example", ""]
)
def test_server_refuses_hosts_that_are_not_its_own(url, host):
    answer = Asked(url, "/", host=host or " ")
    assert answer.status == 400
    assert "<script" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_server_answers_to_every_name_of_its_own_machine(url, host):
    assert Asked(url, "/", host=f"{host}:{urlsplit(url).port}").status == 200


@pytest.mark.parametrize("path", KEPT_OUT)
def test_server_refuses_paths_that_lead_elsewhere(url, path):
    answer = Asked(url, path)
    assert answer.status in (400, 404, 500)
    assert SECRET not in answer.text
    assert "root:" not in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_server_is_read_only(url, method):
    assert Asked(url, "/", method=method, body=b"{}").status == 405


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"output": "content.children"}', b'{"output": "../../x"}'])
def test_server_gives_no_trace_where_a_request_makes_no_sense(url, body):
    answer = Asked(url, "/_dash-update-component", method="POST", body=body)
    assert 400 <= answer.status <= 500
    assert "Traceback" not in answer.text
    assert 'File "' not in answer.text


def test_server_tells_browsers_to_stay_on_its_own_page(url):
    headers = Asked(url, "/").headers
    policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "unsafe" not in policy["script-src"]
    assert policy["connect-src"] == "'self'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert "Server" not in headers
    assert "Access-Control-Allow-Origin" not in headers


def test_page_asks_no_other_machine_for_anything(url):
    page = Asked(url, "/").text
    assert "http://" not in page
    assert "https://" not in page


@pytest.mark.parametrize("picked", [["../../etc"], ["r0/../../x"], ["r99"], [None, 3, {}], "r0", {"r0": 1}])
def test_server_looks_runs_up_in_its_table_only(url, picked):
    callbacks = json.loads(Asked(url, "/_dash-dependencies").text)
    callback = next(each for each in callbacks if any(part["property"] == "n_intervals" for part in each["inputs"]))
    outputs = [
        dict(zip(("id", "property"), part.rsplit(".", 1), strict=True)) for part in callback["output"][2:-2].split("...")
    ]
    inputs = [{**part, "value": picked if part["id"] == "picked" else None} for part in callback["inputs"]]
    states = [{**part, "value": {"heads": picked, "figures": picked}} for part in callback["state"]]
    body = {"output": callback["output"], "outputs": outputs, "inputs": inputs, "state": states, "changedPropIds": []}
    answer = Asked(url, "/_dash-update-component", method="POST", body=json.dumps(body).encode())
    shown = json.loads(answer.text)["response"]["shown"]["data"]
    assert answer.status == 200
    assert shown["runs"] == ["r0"]
    assert set(shown["news"]) <= {"r0"}


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("127.1.2.3", True)]
)
def test_is_loopback_knows_this_machine(host, expected):
    assert is_loopback(host) is expected


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org"])
def test_is_loopback_knows_what_others_can_reach(host):
    assert not is_loopback(host)


def test_trusted_hosts_adds_what_the_user_names():
    assert trusted_hosts("192.168.1.2", ["gpu-3"]) == ["localhost", "127.0.0.1", "[::1]", "gpu-3", "192.168.1.2"]
    assert trusted_hosts("fe80::2")[-1] == "[fe80::2]"


def test_trusted_hosts_of_every_address_are_names_of_this_machine(monkeypatch):
    found = trusted_hosts("0.0.0.0")
    assert found[:3] == ["localhost", "127.0.0.1", "[::1]"]
    assert len(found) > 3
    assert "0.0.0.0" not in found


def test_content_policy_allows_inline_scripts_by_hash_only():
    assert "script-src 'self' 'sha256-abc';" in content_policy(["'sha256-abc'"])


def test_listen_shares_no_port_where_reusing_an_address_would(monkeypatch):
    monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", -5, raising=False)  # as on Windows
    with listen("127.0.0.1", 0) as listening:
        assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0


def test_listen_takes_the_next_free_port():
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with listen("127.0.0.1", port) as second:
            assert second.getsockname()[1] > port


def test_known_runs_follow_no_links_out_of_a_folder(tmp_path: Path):
    outside = make_reference_run(tmp_path / "outside", last_step=200)
    inside = tmp_path / "inside"
    make_reference_run(inside, name="own", last_step=200)
    (inside / "link").symlink_to(outside)
    assert [run.name for run in KnownRuns([inside]).all()] == ["own"]
