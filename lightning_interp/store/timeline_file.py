# SPDX-License-Identifier: Apache-2.0
"""phases.json: the timeline as the analyzer wrote it."""

from pathlib import Path

from lightning_interp.core.errors import MetricsError, RunError
from lightning_interp.core.timeline import Timeline
from lightning_interp.store.bounded_file import read_object
from lightning_interp.store.layout import PHASES


def read_timeline(run_dir: Path) -> Timeline | None:
    """The timeline, None if there is none yet.

    Raises:
        RunError: It cannot be read, or is of another schema.
    """
    path = run_dir / PHASES
    content = read_object(path)
    try:
        return None if content is None else Timeline.from_dict(content)
    except MetricsError as err:
        raise RunError(f"{path}: {err} `lightning-interp analyze {run_dir}` does, once the file is moved away.") from err
