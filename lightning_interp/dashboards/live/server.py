# SPDX-License-Identifier: Apache-2.0
"""Serving the page with waitress: on the port asked for, or the next free one."""

import errno
import logging
import socket
import threading
from typing import Any

import dash
import waitress
from waitress import wasyncore
from waitress.server import BaseWSGIServer

from lightning_interp.core.errors import ConfigError

PORTS_TRIED = 100
_THREADS = 8
_PATIENCE_S = 2.0
_LARGEST_REQUEST = 2**22
"""Bytes; what a browser remembers of the page is a few thousand."""


class LiveServer:
    """Serves a page in threads of its own, from the start to `close`.

    Args:
        app: The page.
        listening: A bound socket.

    Attributes:
        url: Where the page is.
    """

    def __init__(self, app: dash.Dash, listening: socket.socket) -> None:
        self.url = url_of(listening)
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns whenever a request waits for a moment
        self._open: dict[int, Any] = {}
        self._server: BaseWSGIServer = waitress.create_server(
            app.server,
            map=self._open,
            sockets=[listening],
            threads=_THREADS,
            ident=None,
            max_request_body_size=_LARGEST_REQUEST,
        )
        self._thread = threading.Thread(target=self._server.run, name="interp-live", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until the server ends, which it does not by itself; Ctrl-C comes through here."""
        self._thread.join()

    def close(self) -> None:
        """Answer no more, and close every connection. Idempotent."""
        if self._open:
            logging.getLogger("waitress").setLevel(logging.CRITICAL)  # what is being answered is broken off, on purpose
            self._server.trigger.pull_trigger(lambda: wasyncore.close_all(self._open))  # in the thread that waits for them
            self._thread.join(_PATIENCE_S)
            self._server.task_dispatcher.shutdown(timeout=_PATIENCE_S)


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to the port, or to the next that is free.

    Args:
        host: Name or address of an interface of this machine.
        port: Port to try first; 0 for any.

    Raises:
        ConfigError: There is no such interface, or none of the ports can be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as err:
        raise ConfigError(f"--host: {host!r} is no name or address of this machine ({err}). Try 127.0.0.1.") from err
    for number in range(port, min(port + PORTS_TRIED, 2**16) if port else 1):
        listening = socket.socket(family, kind, protocol)
        if not hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # where that is, the other one lets two servers have the same port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((address[0], number, *address[2:]))
            listening.listen()
            return listening
        except OSError as err:
            listening.close()
            if err.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise ConfigError(f"--host: cannot listen on {host!r} ({err}). Try 127.0.0.1.") from err
    raise ConfigError(f"--port: no port from {port} on is free. Give another, or 0 for any.")


def url_of(listening: socket.socket) -> str:
    """Where a browser finds what listens there; an address that stands for all is replaced by this machine itself."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"
