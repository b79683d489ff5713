# SPDX-License-Identifier: Apache-2.0
"""The step that the name of a checkpoint says."""

import re

from lightning_interp.core.errors import ConfigError

STEP_PATTERN = r"(?:global_?step|step|checkpoint|iteration|iter|it|ckpt)[-_=]?(\d+)"
"""Where a name has the step, unless the user says otherwise; failing that, the last number in it."""

_STEP = re.compile(STEP_PATTERN, re.IGNORECASE)


def step_in_name(path: str, pattern: re.Pattern[str] | None = None) -> int | None:
    """Step that a path says: in the file's name, else in its folder's.

    >>> step_in_name("runs/epoch=3-step=500.ckpt"), step_in_name("step1000/model.safetensors"), step_in_name("last.ckpt")
    (500, 1000, None)
    """
    parts = path.rstrip("/").split("/")
    names = [re.sub(r"\.\w+$", "", parts[-1]), *parts[-2:-1]]
    for name in names:
        if match := (pattern or _STEP).search(name):
            return int(match.group(1))
    numbers = re.findall(r"\d+", names[0]) if pattern is None else []
    return int(numbers[-1]) if numbers else None


def compiled(step_pattern: str | None) -> re.Pattern[str] | None:
    """A user's pattern, compiled.

    Raises:
        ConfigError: It is no regular expression with one group.
    """
    if step_pattern is None:
        return None
    try:
        pattern = re.compile(step_pattern)
    except re.error as err:
        raise ConfigError(f"step_pattern: {step_pattern!r} is no regular expression ({err}).") from err
    if pattern.groups != 1:
        raise ConfigError(f"step_pattern: {step_pattern!r} has {pattern.groups} groups; put the step, and it alone, in ( ).")
    return pattern
