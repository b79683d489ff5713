# SPDX-License-Identifier: Apache-2.0
"""What the page's server answers and to whom, and what a browser may do with the page: it is read-only, and stays local.

A site that a reader visits elsewhere could point a name of its own at this machine (DNS rebinding) and read the runs through
the reader's browser. Its requests carry that name in their Host header, and are refused.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable
from contextlib import suppress

import dash
from flask import Flask, Response, abort, request
from werkzeug.exceptions import HTTPException

from lightning_interp.core.console import printable, warn

_CALLBACK = "/_dash-update-component"
_ANSWERED = {
    "/",
    "/_dash-layout",
    "/_dash-dependencies",
    "/_favicon.ico",
    "/_dash-component-suites/<string:package_name>/<path:fingerprinted_path>",
    "_dash_assets.static",
    _CALLBACK,
}
"""Endpoints there are; Dash's others, such as the one that answers every other path with the page, are refused."""
_HOST = re.compile(r"(?:(?P<name>[a-z0-9_.-]+)|\[(?P<address>[0-9a-f:.]+)\])(?::\d{1,5})?")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def protect(app: dash.Dash, hosts: Iterable[str]) -> None:
    """Answer requests to `hosts`, only what the page needs, and tell browsers what it may do. Call after all callbacks."""
    server: Flask = app.server
    trusted = frozenset(host.lower().strip("[]") for host in hosts)
    policy = content_policy(app.csp_hashes())

    def refuse() -> None:
        if host_name(request.headers.get("Host", "")) not in trusted:
            abort(400, "This server does not answer to that name; `lightning-interp watch --trusted-host NAME` lets it.")
        if request.method not in ("GET", "HEAD") and (request.method, request.endpoint) != ("POST", _CALLBACK):
            abort(405)
        if request.endpoint not in _ANSWERED:
            abort(404)

    def add_headers(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    server.before_request_funcs.setdefault(None, []).insert(0, refuse)  # before Dash's own
    server.after_request(add_headers)
    server.register_error_handler(Exception, _answer_error)


def host_name(header: str) -> str:
    """The name or address in a Host header, empty where it makes no sense.

    Not left to Flask's TRUSTED_HOSTS: werkzeug 3.1 cuts what it trusts at the first colon, and so knows no IPv6 address.

    >>> host_name("localhost:8050"), host_name("[::1]:8050"), host_name("a@b"), host_name("::1")
    ('localhost', '::1', '', '')
    """
    found = _HOST.fullmatch(header.strip().lower())
    return (found["name"] or found["address"]) if found else ""


def content_policy(script_hashes: Iterable[str]) -> str:
    """Content-Security-Policy: scripts of this server and Dash's own inline ones, nothing from or to anywhere else.

    Styles may be inline: plotly writes some into the page.
    """
    rules = {
        "default-src": "'none'",
        "script-src": " ".join(["'self'", *script_hashes]),
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "connect-src": "'self'",
        "font-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def is_loopback(host: str) -> bool:
    """Whether a host to bind to can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def trusted_hosts(host: str, also: Iterable[str] = ()) -> list[str]:
    """Hosts that a request may be for: those of the address the server is bound to, and `also`.

    An address that stands for every one adds this machine's names and addresses.
    """
    hosts = [*_LOOPBACK, *also]
    if host.strip("[]") in ("0.0.0.0", "::", ""):
        hosts += _own_names()
    elif not is_loopback(host):
        hosts.append(_in_header(host))
    return list(dict.fromkeys(name for name in hosts if name))


def _own_names() -> list[str]:
    name = socket.gethostname()
    names = [name, socket.getfqdn()]
    with suppress(OSError):  # a machine may not know its own name
        names += [_in_header(str(entry[4][0])) for entry in socket.getaddrinfo(name, None)]
    return names


def _in_header(host: str) -> str:
    return f"[{host.strip('[]')}]" if ":" in host else host


def _answer_error(err: Exception) -> Response | HTTPException:
    """A refused request gets its number; one that made Dash fail gets one sentence, and no trace."""
    if isinstance(err, HTTPException):
        return err
    warn(f"a request could not be answered ({type(err).__name__}: {printable(str(err))[:200]})")
    return Response("This request could not be answered.\n", status=500, mimetype="text/plain")
