# SPDX-License-Identifier: Apache-2.0
"""Parts of a module that are copies of others: momentum encoders, teachers, target networks, running averages.

No optimizer trains them. Counted in, the norm of the weights would be that of two networks, one of which lags behind.
"""

import re
from collections.abc import Collection, Mapping

_UNMISTAKABLE = re.compile(
    r"(^|_)(momentum|ema|averaged|shadow|swa)(_|$)"
    r"|(^|_)target_?(net|network|model|policy|actor|critic|q|qf|qnet|value|vf)\d*(_|$)"
    r"|(^|_)(net|network|model|policy|actor|critic|q|qf|qnet|value|vf)\d*_target",
    re.IGNORECASE,
)
"""Names of a copy even where its parameters ask for gradients: the target network of a DQN often does."""
_LIKELY = re.compile(
    r"(^|_)teacher(_|$)|(^|_)key_(encoder|net|network|model)$"
    r"|(^|_)(encoder|backbone|network|net|model|projector|proj_head|head)_k(ey)?$",
    re.IGNORECASE,
)
"""Names of a copy unless it is known to be trained: a `key_encoder` may be that of the passages, trained with its twin."""
_POSSIBLE = re.compile(
    r"(^|_)(target|copy|key|k|ref|reference|old|anchor|frozen|slow|lagged|mean|averages?)(_|$)", re.IGNORECASE
)
"""Names of a copy if none of its parameters is trained: a `target_embedding` may as well be that of the other language."""
_WRAPPED = ("module", "model", "ema_model")
"""What averaging wrappers call the network they hold."""

_Signature = tuple[tuple[str, tuple[int, ...]], ...]


def network_copies(shapes: Mapping[str, tuple[int, ...]], *, trained: Collection[str] | None = None) -> tuple[str, ...]:
    """Names of parts that are copies: called like one, with a twin elsewhere that has the same parameters by name and shape.

    A frozen part without a twin, such as a pretrained backbone, is no copy.

    Args:
        shapes: Shape of each parameter, by its name.
        trained: Names of parameters that ask for gradients; None where that is not known, as in a checkpoint.

    Returns:
        Names of modules, none inside another, in the order of `shapes`.
    """
    if not any(_is_called_copy(part) for name in shapes for part in name.split(".")[:-1]):
        return ()
    signatures = _signatures(shapes)
    found: list[str] = []
    for name, signature in signatures.items():
        if any(name.startswith(f"{copy}.") for copy in found):
            continue
        frozen = None if trained is None else not any(f"{name}.{inner}" in trained for inner, _ in signature)
        if _is_copy(name, signatures, frozen=frozen):
            found.append(name)
    return tuple(found)


def is_inside(name: str, parts: Collection[str]) -> bool:
    """Whether a module or parameter is one of some parts or in one of them."""
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def _is_copy(name: str, signatures: Mapping[str, _Signature], *, frozen: bool | None) -> bool:
    above, _, last = name.rpartition(".")
    itself, inherits = _means_copy(last, frozen=frozen), _means_copy(above.rpartition(".")[2], frozen=frozen)
    if not itself and not inherits:
        return False
    twins = (
        other
        for other, signature in signatures.items()
        if signature == signatures[name] and not _are_nested(name, other) and not _is_named_copy(other)
    )
    return any(itself or last in _WRAPPED or other.rpartition(".")[2] == last for other in twins)


def _is_called_copy(part: str) -> bool:
    return any(names.search(part) for names in (_UNMISTAKABLE, _LIKELY, _POSSIBLE))


def _means_copy(part: str, *, frozen: bool | None) -> bool:
    likely = frozen is not False and _LIKELY.search(part)
    return bool(_UNMISTAKABLE.search(part) or likely or (frozen and _POSSIBLE.search(part)))


def _is_named_copy(name: str) -> bool:
    """A twin of a copy is no copy itself: two teachers are not copies of each other."""
    return any(_is_called_copy(part) for part in name.split("."))


def _are_nested(name: str, other: str) -> bool:
    return is_inside(name, (other,)) or is_inside(other, (name,))


def _signatures(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, _Signature]:
    """Parameters of each module by name and shape, names relative to it; modules above come before those in them."""
    found: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
    for name, shape in shapes.items():
        parts = name.split(".")
        for depth in range(1, len(parts)):
            found.setdefault(".".join(parts[:depth]), []).append((".".join(parts[depth:]), shape))
    return {name: tuple(sorted(inner)) for name, inner in found.items()}
