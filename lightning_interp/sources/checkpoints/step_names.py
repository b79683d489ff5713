# SPDX-License-Identifier: Apache-2.0
"""The step or epoch that the name of a checkpoint says, and not its loss, date, size or seed."""

import re

from lightning_interp.core.errors import ConfigError

STEP_PATTERN = r"(?:global_?step|step|checkpoint|iteration|iter|it|ckpt)"
"""Words before a step, unless the user says otherwise; failing that, the last number in the name that is no other thing."""

LARGEST_STEP = 2**53
"""Steps are exact up to here."""

_NUMBER = r"(\d{1,3}(?:,\d{3})+|\d+(?:[eE]\+?\d+|[kKmM](?![a-zA-Z0-9]))?)"
_STEP = re.compile(rf"(?<![a-zA-Z]){STEP_PATTERN}s?[-_=]?{_NUMBER}(?![.]\d)(?!\d)", re.IGNORECASE)
_EPOCH = re.compile(rf"(?<![a-zA-Z])(?:epoch|ep|e)s?[-_=]?{_NUMBER}(?![.]\d)(?![a-zA-Z0-9])", re.IGNORECASE)
_SCORES = (
    "acc|accuracy|loss|val|valid|test|train|top|f1|auc|map|iou|miou|dice|score|bleu|wer|ppl|perplexity|psnr|ssim|err|error"
)
_SCORES += "|mae|mse|rmse|best"
_SETTINGS = (
    "lr|wd|seed|rank|fold|bs|batch|dim|d|h|l|layers?|heads?|depth|width|size|hidden|len|seq|v|ver|version|run|trial|part"
)
_SETTINGS += "|shard|gpu|tp|pp|dp"
_MODELS = "resnet|vgg|vit|bert|gpt|llama|densenet|wrn|mobilenet|efficientnet|qwen|pythia|opt|t|yolov?"
_NOT_STEPS = re.compile(
    rf"""
    (?<!\d)(?:19|20)\d\d[-_.]?[01]\d[-_.]?[0-3]\d                                              # dates,
      (?:[-_.T ]{{0,2}}[0-2]?\d[-_.h:]?[0-6]\d(?:[-_.m:]?[0-6]\d)?)?(?!\d)                      # with a time of day
    | (?<![a-zA-Z])(?:{_SCORES}|{_SETTINGS})\d*[-_=@]?\d+(?:[.]\d+)?(?:e-?\d+)?(?!\d)
    | \d+[.]\d+(?:e-?\d+)?                                                                      # a share or loss
    | (?<![a-zA-Z0-9])(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{{6,}}(?![a-zA-Z0-9])               # a hash
    | (?<![a-zA-Z0-9])\d{{9,}}(?!\d)                                                              # a time or id
    | \d+(?:[.]\d+)?(?:[bB]|M(?=params|P))(?![a-zA-Z])                                           # a size
    | (?<![a-zA-Z])(?:{_MODELS})[-_]?\d{{1,3}}(?!\d)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_SUFFIX = re.compile(r"(?:\.(?:ckpt|pth|pt|bin|safetensors|tar|index|json|model|weights|h5))+$", re.IGNORECASE)
_COPY = re.compile(r"-v\d+$")


def step_in_name(path: str, pattern: re.Pattern[str] | None = None) -> int | None:
    """Step that a path says: in the file's name, else in its folder's.

    >>> step_in_name("runs/epoch=3-step=500.ckpt"), step_in_name("step1000/model.safetensors"), step_in_name("last.ckpt")
    (500, 1000, None)
    >>> step_in_name("step_10k.pt"), step_in_name("step-1,000.pt"), step_in_name("best_acc_0.93.pth")
    (10000, 1000, None)
    """
    names = _names(path)
    if pattern is not None:
        found = next((match for name in names if (match := pattern.search(name))), None)
        return None if found is None else _whole(found.group(1))
    for name in names:
        steps = _STEP.findall(name)
        if steps:
            return _whole(steps[-1])
    if epoch_in_name(path) is not None:
        return None
    numbers = re.findall(rf"(?<![\d,.]){_NUMBER}(?![\d.])", _NOT_STEPS.sub(" ", names[0]))
    return _whole(numbers[-1]) if numbers else None


def epoch_in_name(path: str) -> int | None:
    """Epoch that a path says.

    >>> epoch_in_name("epoch_2.pth"), epoch_in_name("best_epoch_3_acc_0.62.pth"), epoch_in_name("step5.pt")
    (2, 3, None)
    """
    found = next((match for name in _names(path) if (match := _EPOCH.search(name))), None)
    return None if found is None else _whole(found.group(1))


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


def _names(path: str) -> list[str]:
    """The file's name without its suffix or the mark of a copy, then its folder's."""
    parts = path.rstrip("/").split("/")
    return [_COPY.sub("", _SUFFIX.sub("", parts[-1])), *parts[-2:-1]]


def _whole(text: str | None) -> int | None:
    """A number as names write it: ``10k``, ``1e4``, ``1,000``; None for what is no step."""
    plain = (text or "").replace(",", "").lower()
    factor = {"k": 1_000, "m": 1_000_000}.get(plain[-1:], 1)
    try:
        number = float(plain.rstrip("km")) * factor if "e" in plain or factor > 1 else int(plain)
    except (ValueError, OverflowError):
        return None
    return int(number) if 0 <= number <= LARGEST_STEP and number == int(number) else None
