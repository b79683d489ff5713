# SPDX-License-Identifier: Apache-2.0
"""``lightning-interp watch``: runs on a page in the browser that is kept up to date while they train."""

import argparse
import gc
import webbrowser
from pathlib import Path

from lightning_interp.cli.exit_codes import DONE
from lightning_interp.core.console import one_line, warn
from lightning_interp.core.errors import ConfigError

EPILOG = """examples:
  lightning-interp watch interp_runs/
      Every run in the folder, those to come included; the latest is in view first.
  lightning-interp watch interp_runs/20260102T030405Z-1a2b3c --open
      One run, and the browser opens by itself.
  lightning-interp watch /mnt/cluster/interp_runs --port 0
      Training on another machine, its disk mounted here; on whatever port is free.
  ssh -L 8050:127.0.0.1:8050 cluster lightning-interp watch interp_runs/
      The other way around: the page runs there, and is read here at http://127.0.0.1:8050/.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.description = (
        "Serves one page with the figures of a report, updating while training runs. It only reads run "
        "directories, needs no network, and ends with Ctrl-C."
    )
    parser.epilog = EPILOG
    parser.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="RUN_DIR",
        help="run directory, or a folder in which run directories are or appear",
    )
    parser.add_argument(
        "--port", type=_port, default=8050, help="port; the next free one where it is taken, 0 for any (8050)"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; any but this machine's own lets others read the runs (127.0.0.1)",
    )
    parser.add_argument(
        "--trusted-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name under which the page may be asked for, such as the one a colleague types; can be repeated",
    )
    parser.add_argument(
        "--interval", type=_seconds, default=2.0, metavar="S", help="seconds between two looks at the runs (2)"
    )
    parser.add_argument("--open", action="store_true", dest="browser", help="open the page in the browser")
    parser.add_argument("--no-browser", action="store_false", dest="browser", help="do not open it, as is the default")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    try:
        import dash
        import waitress
    except ImportError as err:
        raise ConfigError(
            f"watch: {err.name} is not installed. It comes with: pip install 'lightning-interp[dashboards]'"
        ) from err
    del dash, waitress
    from lightning_interp.dashboards.live.app import make_app
    from lightning_interp.dashboards.live.known_runs import KnownRuns
    from lightning_interp.dashboards.live.security import is_loopback, trusted_hosts
    from lightning_interp.dashboards.live.server import LiveServer, listen

    runs = KnownRuns(args.paths)
    app = make_app(runs, interval_s=args.interval, hosts=trusted_hosts(args.host, args.trusted_host))
    server = LiveServer(app, listen(args.host, args.port))
    if not is_loopback(args.host):
        warn(f"--host {args.host}: whoever can reach this port can read these runs; nobody can change anything")
    count = len(runs.all())
    print(one_line(f"Watching {count} run{'' if count == 1 else 's'} at {server.url} (Ctrl-C ends)"), flush=True)
    gc.freeze()  # what imports made stays for good: looking through it all the time would hold up updates by 150 ms
    if args.browser:
        webbrowser.open(server.url)
    try:
        server.wait()
    finally:
        server.close()
    return DONE


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**16:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.2 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"expected seconds from 0.2 to 3600, got {text!r}")
    return seconds
