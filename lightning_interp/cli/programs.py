# SPDX-License-Identifier: Apache-2.0
"""How a user has to call a program that is installed beside this one."""

import os
import shutil
import sys
from pathlib import Path


def as_typed(name: str) -> str:
    """The name alone where the shell finds that very program, else its path: `make demo` activates no environment."""
    installed = Path(sys.executable).parent / name
    found = shutil.which(name)
    if not installed.exists() or (found is not None and Path(found).samefile(installed)):
        return name
    return os.path.relpath(installed)
