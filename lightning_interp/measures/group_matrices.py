# SPDX-License-Identifier: Apache-2.0
"""Which parameters of a network are the embedding, the unembedding and the MLP output of a group task.

Decided by shape, then by name; whatever is still open is refused with the candidates listed, never guessed.
"""

import difflib
import re
from collections.abc import Mapping

from lightning_interp.core.errors import ConfigError
from lightning_interp.core.shapes import Float, Float64, Tensor

Shapes = Mapping[str, tuple[int, ...]]

EMBEDDING_WORDS = re.compile(r"(?<!un)(?<!un_)embed|(?:^|[._])(?:w_?e|wte|emb|tok\w*)(?:$|[._])", re.IGNORECASE)
UNEMBEDDING_WORDS = re.compile(r"un_?embed|head|readout|(?:^|[._])(?:w_?u|decoder|out|output)(?:$|[._])", re.IGNORECASE)


def resolve_unembedding(p: int, shapes: Shapes, given: str | None, *, taken: str | None) -> str:
    """Name of the unembedding.

    Raises:
        ConfigError: The given name does not fit, or not exactly one parameter does.
    """
    if given is not None:
        return checked("unembedding", p, shapes, given)
    found = [name for name in vocabulary_matrices(p, shapes) if name != taken]
    found = narrowed(found, [name for name in found if p in shapes[name]])
    found = narrowed(found, [name for name in found if UNEMBEDDING_WORDS.search(name)])
    found = narrowed(found, [name for name in found if not EMBEDDING_WORDS.search(name)])
    return only_one("unembedding", p, shapes, found)


def resolve_embedding(p: int, shapes: Shapes, given: str | None, *, taken: str) -> str:
    """Name of the embedding.

    Raises:
        ConfigError: The given name does not fit, or not exactly one parameter does.
    """
    if given is not None:
        return checked("embedding", p, shapes, given)
    found = [name for name in vocabulary_matrices(p, shapes) if name != taken]
    named = [name for name in found if EMBEDDING_WORDS.search(name)]
    return only_one("embedding", p, shapes, narrowed(found, named))


def resolve_mlp_out(p: int, shapes: Shapes, given: str | None, *, unembedding: str, taken: str) -> str | None:
    """Name of the matrix from hidden units to the unembedding's width, None where the network has none.

    Looks for W_in and W_out of transposed shapes [hidden, width] and [width, hidden]. W_out must be both the later one
    and laid out like the unembedding ([out, in] or [in, out]); where these disagree, or several pairs exist, it refuses.

    Raises:
        ConfigError: The given name does not fit, or several parameters do.
    """
    vocabulary = vocabulary_axis(p, shapes[unembedding])
    width = shapes[unembedding][1 - vocabulary]
    if given is not None:
        require_known("mlp_out", shapes, given)
        if len(shapes[given]) != 2 or width not in shapes[given]:
            raise ConfigError(f"CyclicGroupTask: `mlp_out` {given!r} {shapes[given]} has no axis of the width {width}.")
        return given
    names = [n for n, s in shapes.items() if len(s) == 2 and s.count(width) == 1 and n not in (unembedding, taken)]
    paired = [name for name in names if any(shapes[other] == shapes[name][::-1] for other in names)]
    if not paired:
        return None
    if len(paired) == 2 and shapes[paired[1]][vocabulary] == width:
        return paired[1]
    raise ConfigError(
        f"CyclicGroupTask: `mlp_out` is not clear, candidates: {listed(paired, shapes)}. "
        "Pass the one whose output the unembedding reads, or 'none'."
    )


def vocabulary_matrices(p: int, shapes: Shapes) -> list[str]:
    """Names of 2-D parameters with exactly one axis of p or p + 1."""
    return [n for n, shape in shapes.items() if len(shape) == 2 and sum(size in (p, p + 1) for size in shape) == 1]


def vocabulary_axis(p: int, shape: tuple[int, ...]) -> int:
    """Axis of tokens or classes; the first where both fit, as in nn.Embedding and nn.Linear."""
    return 0 if shape[0] in (p, p + 1) else 1


def narrowed(found: list[str], better: list[str]) -> list[str]:
    """The better candidates where more than one was found and any is better, else all."""
    return better if better and len(found) > 1 else found


def checked(argument: str, p: int, shapes: Shapes, given: str) -> str:
    """The given name, if it is a matrix with an axis of p or p + 1."""
    require_known(argument, shapes, given)
    shape = shapes[given]
    if len(shape) != 2 or not {p, p + 1} & set(shape):
        raise ConfigError(
            f"CyclicGroupTask: `{argument}` {given!r} must be a matrix with an axis of {p} or {p + 1}, got {shape}."
        )
    return given


def require_known(argument: str, shapes: Shapes, given: str) -> None:
    """Raise `ConfigError` with the nearest names unless the parameter exists."""
    if given not in shapes:
        near = difflib.get_close_matches(given, shapes, n=3, cutoff=0.4) or list(shapes)[:8]
        raise ConfigError(f"CyclicGroupTask: `{argument}` {given!r} is no parameter; nearest: {', '.join(near)}.")


def only_one(argument: str, p: int, shapes: Shapes, found: list[str]) -> str:
    """The only candidate, else `ConfigError` listing them."""
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError(
            f"CyclicGroupTask: no parameter left that could be `{argument}` (2-D, one axis of {p} or {p + 1}). "
            f"Check `p`, or pass {argument}=NAME (a tied matrix may be passed for both)."
        )
    raise ConfigError(
        f"CyclicGroupTask: `{argument}` is not clear, candidates: {listed(found, shapes)}. Pass {argument}=NAME."
    )


def listed(names: list[str], shapes: Shapes) -> str:
    """Names with their shapes for a message."""
    return ", ".join(f"{name} {tuple(shapes[name])}" for name in names)


def vocabulary_rows(matrix: Float[Tensor, "row column"], p: int) -> Float[Tensor, "vocabulary width"]:
    """A matrix with tokens or classes on the first axis, in whichever layout it is stored."""
    return matrix if vocabulary_axis(p, tuple(matrix.shape)) == 0 else matrix.T


def neuron_to_logit(
    unembedding: Float[Tensor, "class width"], mlp_out: Float[Tensor, "row column"]
) -> Float64[Tensor, "class hidden"]:
    """Map from hidden units to logits W_L = W_U W_out, float64.

    Args:
        unembedding: W_U with classes first.
        mlp_out: W_out as [width, hidden] (nn.Linear) or [hidden, width]; the first where both axes are the width.
    """
    wide = mlp_out.double()
    return unembedding.double() @ (wide if wide.shape[0] == unembedding.shape[1] else wide.T)
