# SPDX-License-Identifier: Apache-2.0
"""The keys of training checkpoints: under which the network is, its averages, its step, and under which it never is."""

import re
from collections.abc import Iterable

NETWORK = ("state_dict", "model_state_dict", "model", "module", "net", "params", "weights")
"""Where the network is usually, the likelier first."""
TRAINED = ("state_dict", "model_state_dict", "model")
"""Where it is where averages of it are beside it."""
AVERAGES = ("state_dict_ema", "ema_state_dict", "model_ema_state_dict", "model_ema", "ema_model", "ema")
"""Under which timm and others keep the averages."""
STEPS = ("global_step", "step", "iteration", "iter_num", "global_steps", "iter", "num_updates", "num_steps", "steps")
"""Where a checkpoint says its step, the likelier first."""
EPOCH = "epoch"

_COPIES = re.compile(r"best|last|prev|old|init|backup|teacher|target|momentum|averag|ema|swa|shadow|copy", re.IGNORECASE)
_OTHER = re.compile(
    r"optim|sched|scaler|hparam|hyper_?param|extra_state$|exp_avg|"
    r"(?:^|_)(?:opt|rng|metrics?|loss|losses|history|callbacks?|loops|config|cfg|args|grads?|criterion|queue)(?:_|$)|"
    r"(?:^|_)(?:random|generator|python|numpy|torch|cuda)_(?:rng_)?states?$|"
    r"^(?:(?:replay_)?(?:buffer|memory)|memory_bank|cache|data|dataset|train_data|batch|batches|inputs|targets|labels|samples?|"
    r"stats|statistics|normali[sz](?:er|ation)|prototypes?|_?metadata|meta|param_groups)$",
    re.IGNORECASE,
)
_NUMBERS = re.compile(r"loss|acc|metric|rng|random|^lr$|epoch|step|iter|score|best_|perplexity|ppl", re.IGNORECASE)


def is_other(key: object) -> bool:
    """Whether what lies under a key is no network, whatever tensors are in it: an optimizer, random states, metrics."""
    return type(key) is not str or (key not in NETWORK and _OTHER.search(key) is not None)


def is_copy(path: str) -> bool:
    """Whether a path says that a copy, an average or an earlier state of the network lies there."""
    return _COPIES.search(path) is not None


def are_averages(path: str) -> bool:
    """Whether a path says that averages of the weights lie there."""
    return re.search(r"ema|averag|swa|shadow", path, re.IGNORECASE) is not None


def are_numbers(names: Iterable[str]) -> bool:
    """Whether names are those of metrics, counters and random states, and not of weights."""
    return all("." not in name and _NUMBERS.search(name) for name in names)
