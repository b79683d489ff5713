# SPDX-License-Identifier: Apache-2.0
"""Gives several commands in one process, as the program would give each, and writes down what every one of them ran.

``python commands_in_turn.py COMMANDS.json MARKER`` reads ``{name: [argument, ...]}``; on standard output it then has, for
each name, the exit code, the words on standard error, and the planted modules that noted themselves in MARKER meanwhile.
The working directory is not on the import path of a script, as it is not on the program's.
"""

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any


def give(arguments: list[str], marker: Path) -> dict[str, Any]:
    """What became of one command."""
    from lightning_interp.cli.main import main

    err, code = io.StringIO(), None
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except (Exception, SystemExit) as fault:
            err.write(f"{type(fault).__name__}: {fault}")
    executed = marker.read_text().split() if marker.exists() else []
    marker.unlink(missing_ok=True)
    return {"code": code, "err": err.getvalue(), "executed": executed}


if __name__ == "__main__":
    commands, marker = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    print(json.dumps({name: give(arguments, marker) for name, arguments in commands.items()}))
