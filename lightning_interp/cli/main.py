# SPDX-License-Identifier: Apache-2.0
"""``lightning-interp``: finds the command, imports only that one, and turns errors and signals into exit codes."""

import argparse
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

from lightning_interp.cli.exit_codes import BAD_INPUT, DONE, FAILED, INTERRUPTED, TERMINATED
from lightning_interp.core.console import one_line
from lightning_interp.core.errors import CheckpointError, ConfigError, InterpError, MetricsError, RunError, ShapeError
from lightning_interp.core.inert_output import inert_output
from lightning_interp.core.system_trouble import trouble_of

BAD_INPUT_ERRORS = (ConfigError, CheckpointError, RunError, MetricsError, ShapeError)
"""What the user gave cannot be used; any other error of ours is a failure of the work itself."""

COMMANDS = {
    "demo": "train a small network until it groks, and show its phases",
    "phases": "find the phases of learning in a metrics history or a run directory",
    "analyze": "analyze checkpoints, or finish the analysis of a run directory",
    "tca": "find the components of a run's activations: when, which stimuli, which units",
    "watch": "watch runs on a page in the browser, while they train",
    "status": "where a run stands: phases, measures, settings, health, size on disk",
    "compare": "compare runs: phase boundaries over seeds, losses in phase time, representations at matched phases",
    "report": "write a page about a run, or several, that needs no network",
    "export": "write a run's records as zarr, parquet or CSV",
    "sync": "send results that came after training to its W&B run",
    "wandb-workspace": "build a ready-made W&B workspace view of everything the monitor logs",
    "check-neutral": "train with and without the monitor and report the first difference, or none",
}
"""Commands with one line each; the module of the same name, `-` as `_`, is imported when the command is used."""

EPILOG = """examples:
  lightning-interp analyze checkpoints/ --module project.model:build --probe project.data:probe
      What happened in a training that is over? Without --module, what the weights alone tell.
  lightning-interp phases lightning_logs/version_0/metrics.csv --classes 10
      When did this run memorize, and when did it generalize? Needs only the CSV that CSVLogger wrote.
  lightning-interp phases metrics.csv --json | python -c "import json, sys; print(json.load(sys.stdin)['verdict'])"
      The same for a script: one word, such as grokking or memorization_only.
  lightning-interp tca interp_runs/20260102T030405Z-1a2b3c --figure components.html
      What parts do the stored activations consist of, and when did each of them appear?
  lightning-interp watch interp_runs/
      What are the runs in this folder doing right now? A page in the browser that follows them.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments after the program's name; those of the process where None.

    Returns:
        Exit code: 0 done, 1 failed, 2 bad input, 130 interrupted, 143 ended by SIGTERM.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    with _any_character(), inert_output():
        return _run(arguments)


def _run(arguments: Sequence[str]) -> int:
    try:
        args = build_parser(arguments).parse_args(arguments)
        with _ended_by_sigterm():
            code = int(args.run(args))
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # argparse: --help is 0, a bad argument 2
        return stop.code if isinstance(stop.code, int) else BAD_INPUT
    except InterpError as err:
        _tell(f"error: {err}", [line for note in getattr(err, "__notes__", ()) for line in note.splitlines()])
        return BAD_INPUT if isinstance(err, BAD_INPUT_ERRORS) else FAILED
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as err:  # a full disk, a folder without permission: the system's word, no fault of the program
        _tell(f"error: {trouble_of(err)}", [])
        return FAILED
    except Exception as err:  # a fault of the program; its message may quote a stranger's file
        _tell(f"error: {type(err).__name__}: {err}", "".join(traceback.format_exception(err)).splitlines())
        return FAILED


def _tell(sentence: str, lines: Iterable[str]) -> None:
    """Print an error, and below it the lines of others, each marked as such."""
    for line in (sentence, *(f"  | {line}" for line in lines)):
        print(one_line(line), file=sys.stderr)


@contextmanager
def _any_character() -> Iterator[None]:
    """Meanwhile what the output's encoding lacks, as that of a pipe on Windows lacks arrows, is printed as `?`."""
    output = sys.stdout
    if not isinstance(output, io.TextIOWrapper) or output.encoding.lower().startswith("utf"):
        yield
        return
    before = output.errors
    output.reconfigure(errors="replace")
    try:
        yield
    finally:
        output.reconfigure(errors=before)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Meanwhile SIGTERM unwinds as Ctrl-C does, so that temporary folders and child processes go, too."""
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or before != signal.SIG_DFL:
        yield
        return

    def end(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one must not break off the cleaning up
        raise SystemExit(TERMINATED)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with an argument, whatever is in it."""

    def error(self, message: str) -> NoReturn:
        super().error(one_line(message))


def build_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser, complete for the command that `arguments` name; other commands have their name and one line only."""
    parser = _Parser(
        prog="lightning-interp",
        description="Phases of learning in PyTorch Lightning runs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    wanted = next((word for word in arguments if not word.startswith("-")), None)
    for name, line in COMMANDS.items():
        command = subparsers.add_parser(name, help=line, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name == wanted:
            import_module(f"lightning_interp.cli.{name.replace('-', '_')}").add_arguments(command)
    return parser


def _version() -> str:
    try:
        return version("lightning-interp")
    except PackageNotFoundError:
        return "unknown (not installed)"


if __name__ == "__main__":
    sys.exit(main())
