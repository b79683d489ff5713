# SPDX-License-Identifier: Apache-2.0
"""Where this machine has a Chromium or Chrome, as `.ci/browser` finds it."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / ".ci" / "browser"


def find_browser(environment: Mapping[str, str] = os.environ) -> str | None:
    """Path of the first browser on the search path, None where there is none."""
    found = subprocess.run([str(SCRIPT), "--find"], env=dict(environment), stdout=subprocess.PIPE, text=True, check=False)
    return found.stdout.strip() or None
