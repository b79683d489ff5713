# SPDX-License-Identifier: Apache-2.0
"""The step and the epoch that the name of a checkpoint says, and what in a name is neither: metrics, dates, settings."""

import re
from dataclasses import dataclass

from lightning_interp.core.errors import ConfigError

_NUMBER = r"\d{1,3}(?:,\d{3})+(?!\d)|\d+(?:\.\d+)?[eE]\+?\d+(?![A-Za-z\d])|\d+(?:\.\d+)?[kKmM](?![A-Za-z\d])|\d+"
_SURE = r"(?:global_?step|step|steps(?=[-_=. ])|iterations?|(?<![a-zA-Z])(?:iter|iters|it|updates?))[-_=. ]?"
_USUAL = r"(?:checkpoint|(?<![a-zA-Z])ckpt)[-_=. ]?"
_EPOCH = r"(?:epochs?|(?<![a-zA-Z])ep)[-_=. ]?"

_STEP = re.compile(f"{_SURE}({_NUMBER})", re.IGNORECASE)
_STEP_BEHIND = re.compile(
    rf"(?<![A-Za-z\d.])({_NUMBER})[-_ ]?(?:steps?|iters?|iterations?|updates?)(?![A-Za-z])", re.IGNORECASE
)
_CHECKPOINT = re.compile(f"{_USUAL}({_NUMBER})", re.IGNORECASE)
_EPOCH_NUMBER = re.compile(f"{_EPOCH}({_NUMBER})", re.IGNORECASE)

_TIMES = re.compile(
    r"(?<!\d)(?:19|20)\d\d([-_.]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])"  # a date
    r"(?:[-_.T ]*\d\d[-_.:h]?\d\d(?:[-_.:m]?\d\d)?s?)?(?!\d)"  # a time of day behind it
    r"|(?<!\d)\d\d[-:.h]\d\d[-:.m]\d\d(?!\d)"  # a time of day, or a short date
    r"|(?<!\d)1[4-9]\d{8}(?:\d{3})?(?!\d)"  # seconds or milliseconds since 1970
    r"|[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}",  # a UUID
    re.IGNORECASE,
)
_WORDS = re.compile(rf"[A-Za-z]+|{_NUMBER}")

_NO_COUNT = frozenset(
    (
        *("acc", "accuracy", "loss", "val", "valid", "train", "test", "ppl", "bpc", "bpb", "nll", "mse", "mae", "rmse"),
        *("f", "auc", "auroc", "map", "iou", "miou", "dice", "bleu", "rouge", "score", "metric", "psnr", "ssim", "fid"),
        *("wer", "cer", "reward", "return", "error", "err", "top", "recall", "precision", "perplexity", "percent"),
        *("seed", "s", "lr", "rate", "wd", "decay", "bs", "batch", "size", "dim", "h", "hidden", "width", "depth"),
        *("layer", "layers", "l", "head", "heads", "rank", "r", "lora", "alpha", "beta", "gamma", "eps", "temp", "tau"),
        *("dropout", "p", "k", "mod", "prime", "frac", "fold", "cv", "split", "run", "exp", "experiment", "trial", "job"),
        *("v", "version", "ver", "gpu", "gpus", "node", "world", "fp", "bf", "int", "bit", "bits", "px", "res", "vocab"),
        *("resnet", "vit", "gpt", "bert", "llama", "t", "vgg", "cifar", "mnist", "imagenet", "pythia", "b", "e"),
        *("best", "tokens", "token", "samples", "warmup", "ctx", "len", "length", "date", "time", "hash", "sha", "id"),
    )
)
"""Words whose number is a setting, a metric, a version or the name of a model, and no count of what was trained."""

_MODEL = frozenset(("model", "weights", "net", "network", "final", "snapshot", "state", "save", "saved", "params"))
"""Words behind which a number counts even without a separator."""

LARGEST_STEP = 2**53
"""Steps are exact up to here; whatever says a larger one says none."""


@dataclass(frozen=True)
class Named:
    """What a name says.

    Attributes:
        step: Optimizer step; None where it says none.
        epoch: Epoch, the same.
    """

    step: int | None = None
    epoch: int | None = None


def named(path: str, pattern: re.Pattern[str] | None = None) -> Named:
    """Step and epoch that a path says: in the file's name, else in its folder's.

    A number after `step` and the like, after `checkpoint`, after `epoch`, in this order; where there is none of these, the
    last number of the file's name that stands for itself. Numbers of metrics, settings, seeds, dates and hashes are none.

    >>> named("runs/epoch=3-step=500.ckpt"), named("epoch_2_acc_0.93.pth"), named("last.ckpt")
    (Named(step=500, epoch=3), Named(step=None, epoch=2), Named(step=None, epoch=None))
    """
    parts = path.rstrip("/").split("/")
    names = [re.sub(r"(\.pth?)?\.[A-Za-z]\w*$", "", parts[-1]), *parts[-2:-1]]
    if pattern is not None:
        matches = (pattern.search(name) for name in names)
        return Named(next((number(match.group(1)) for match in matches if match), None))
    step, epoch = (next((found for name in names if (found := find(name)) is not None), None) for find in (_step, _epoch))
    if step is None and epoch is None:
        step = _alone(names[0])
    return Named(step, epoch)


def step_in_name(path: str, pattern: re.Pattern[str] | None = None) -> int | None:
    """Step that a path says, as `named` has it.

    >>> step_in_name("runs/epoch=3-step=500.ckpt"), step_in_name("step1000/model.safetensors"), step_in_name("last.ckpt")
    (500, 1000, None)
    """
    return named(path, pattern).step


def epoch_in_name(path: str) -> int | None:
    """Epoch that a path says, as `named` has it.

    >>> epoch_in_name("epoch_2.pth"), epoch_in_name("best_epoch_3_acc_0.62.pth"), epoch_in_name("step5.pt")
    (2, 3, None)
    """
    return named(path).epoch


def number(text: str | None) -> int | None:
    """A count as people write it; None where it is no whole number from 0 to `LARGEST_STEP`.

    >>> number("1,000"), number("10k"), number("2.5M"), number("1e4"), number("0.38"), number("best")
    (1000, 10000, 2500000, 10000, None, None)
    """
    found = re.fullmatch(r"(\d+)(?:\.(\d+))?(?:[eE]\+?(\d+)|([kKmM]))?", (text or "").replace(",", ""))
    if found is None:
        return None
    whole, fraction, exponent, unit = found.groups()
    power = {"k": 3, "m": 6}[unit.lower()] if unit else int(exponent or 0)
    fraction = (fraction or "").rstrip("0")
    if power > 30 or len(fraction) > power:
        return None
    count = int(whole + fraction.ljust(power, "0"))
    return count if count <= LARGEST_STEP else None


def families(path: str) -> str:
    """A path with its counts taken out: equal for the checkpoints that one line of a training script wrote.

    >>> families("run/G_10.pt"), families("run/D_20.pt")
    ('run/G_#.pt', 'run/D_#.pt')
    """
    return re.sub(_NUMBER, "#", path)


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


def _step(name: str) -> int | None:
    plain = _TIMES.sub(" ", name)
    places = ((_STEP, name), (_STEP_BEHIND, plain), (_CHECKPOINT, plain))
    return next((found for form, text in places if (found := _counted(form, text)) is not None), None)


def _epoch(name: str) -> int | None:
    return _counted(_EPOCH_NUMBER, _TIMES.sub(" ", name))


def _counted(form: re.Pattern[str], name: str) -> int | None:
    """The first number behind a word that is whole, and no beginning of a decimal or a hash."""
    for match in form.finditer(name):
        if _stands_alone(name[match.end(1) :]):
            return number(match.group(1))
    return None


def _stands_alone(behind: str) -> bool:
    """Whether a number ends where it was cut: no decimals follow it, and not the rest of a hash."""
    if re.match(r"[.,]\d", behind):
        return False
    rest = re.match(r"[A-Za-z\d]*", behind)
    return rest is None or not rest.group() or re.search(r"[g-zG-Z]", rest.group()) is not None


def _alone(name: str) -> int | None:
    """The last number of a name that is a word of its own and that no setting or metric stands before."""
    plain = _TIMES.sub(lambda match: "x" * len(match.group()), name)
    words = list(_WORDS.finditer(plain))
    for at in range(len(words) - 1, -1, -1):
        word = words[at].group()
        start, end = words[at].span()
        if not word[0].isdigit() or plain[end : end + 1].isalpha():
            continue
        decimal = re.match(r"[.,]\d", plain[end:]) or re.search(r"\d[.,]$", plain[:start])
        before = words[at - 1].group().lower() if at else ""
        attached = plain[start - 1 : start].isalpha()
        if decimal or before in _NO_COUNT or (attached and before not in _MODEL):
            continue
        return number(word)
    return None
