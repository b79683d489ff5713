# SPDX-License-Identifier: Apache-2.0
"""Declaration of a task on a cyclic group: a + b, a - b or a * b modulo p, and where its matrices are."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch

from lightning_interp.core.errors import ConfigError
from lightning_interp.core.shapes import Int, Tensor
from lightning_interp.measures.group_matrices import resolve_embedding, resolve_mlp_out, resolve_unembedding

Operation = Literal["add", "sub", "mul"]

NO_MLP = "none"
"""Value of ``mlp_out`` that says: there is no MLP before the unembedding, do not look for one."""


@dataclass(frozen=True)
class CyclicGroupTask:
    """Inputs a, b in 0 .. p - 1, answer a op b modulo p.

    Multiplication becomes addition of discrete logarithms to the smallest primitive root: the group has p - 1 elements
    and 0, which has no logarithm, is dropped from tokens, pairs and classes.

    Attributes:
        p: Modulus, 3 or more; prime for ``mul``.
        op: ``add``, ``sub`` or ``mul``.
        embedding: Name of the parameter [token, width] or [width, token]; found by shape where None.
        unembedding: Name of the parameter [class, width] or [width, class]; found by shape where None.
        mlp_out: Name of the parameter from hidden units to the unembedding's width; found by shape where None, ``"none"``
            for networks without one.
        operands: Columns of the input that hold a and b.

    Raises:
        ConfigError: A value cannot be honoured; the message names the argument.
    """

    p: int
    op: Operation
    embedding: str | None = None
    unembedding: str | None = None
    mlp_out: str | None = None
    operands: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        if isinstance(self.p, bool) or not isinstance(self.p, int) or self.p < 3:
            raise ConfigError(f"CyclicGroupTask: `p` must be an integer of 3 or more, got {self.p!r}.")
        if self.op not in get_args(Operation):
            raise ConfigError(f"CyclicGroupTask: `op` must be one of 'add', 'sub', 'mul', got {self.op!r}.")
        if self.op == "mul" and not is_prime(self.p):
            raise ConfigError(f"CyclicGroupTask: `p` must be prime for op='mul', got {self.p}.")
        object.__setattr__(self, "operands", checked_operands(self.operands))

    @property
    def order(self) -> int:
        """Number of group elements: p, or p - 1 for multiplication."""
        return self.p - 1 if self.op == "mul" else self.p

    def resolve(self, shapes: Mapping[str, tuple[int, ...]]) -> "CyclicGroupTask":
        """Copy of the task with the unset parameter names found by shape and the set ones checked.

        Embedding and unembedding have one axis of p or p + 1 (an '=' token). Where several parameters fit, one with p + 1
        beside one with p is the embedding, and names with "unembed", "head" or "W_U", "embed" or "W_E" settle the rest.
        ``mlp_out`` stays None where no pair of transposed matrices maps the width to hidden units and back.

        Args:
            shapes: Shape of each parameter by name, in state_dict order.

        Raises:
            ConfigError: A set name does not exist or fit, or an unset one has no or several candidates, which it lists.
        """
        unembedding = resolve_unembedding(self.p, shapes, self.unembedding, taken=self.embedding)
        embedding = resolve_embedding(self.p, shapes, self.embedding, taken=unembedding)
        mlp_out = self.mlp_out
        if mlp_out != NO_MLP:
            mlp_out = resolve_mlp_out(self.p, shapes, mlp_out, unembedding=unembedding, taken=embedding)
        return replace(self, embedding=embedding, unembedding=unembedding, mlp_out=mlp_out)


def checked_operands(operands: object) -> tuple[int, int]:
    """The two input columns as a tuple; lists are accepted because YAML has no tuples.

    Raises:
        ConfigError: They are not two different non-negative integers.
    """
    columns = tuple(operands) if isinstance(operands, (tuple, list)) else ()
    whole = all(isinstance(column, int) and not isinstance(column, bool) and column >= 0 for column in columns)
    if len(columns) != 2 or not whole or columns[0] == columns[1]:
        raise ConfigError(f"CyclicGroupTask: `operands` must be two different column indices, got {operands!r}.")
    return columns[0], columns[1]


def is_prime(number: int) -> bool:
    """Whether a number is prime, by trial division."""
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def primitive_root(p: int) -> int:
    """Smallest g whose powers are all of 1 .. p - 1 modulo the prime p.

    Example:
        >>> primitive_root(113)
        3
    """
    factors = [q for q in range(2, p) if (p - 1) % q == 0 and is_prime(q)]
    return next(g for g in range(1, p) if all(pow(g, (p - 1) // q, p) != 1 for q in factors))


def tokens_by_exponent(p: int, op: Operation) -> Int[Tensor, " exponent"]:
    """Token (or class) that stands for each group element: 0 .. p - 1, or for ``mul`` the powers g^0 .. g^(p-2).

    Example:
        >>> tokens_by_exponent(5, "mul").tolist()
        [1, 2, 4, 3]
    """
    if op != "mul":
        return torch.arange(p)
    root = primitive_root(p)
    return torch.tensor([pow(root, exponent, p) for exponent in range(p - 1)])


def exponents_by_token(p: int, op: Operation) -> Int[Tensor, " token"]:
    """Exponent of each token 0 .. p - 1, the inverse of `tokens_by_exponent`; -1 for a token without one (0 in ``mul``)."""
    tokens = tokens_by_exponent(p, op)
    exponents = torch.full((p,), -1)
    exponents[tokens] = torch.arange(len(tokens))
    return exponents


def pair_exponents(
    first: Int[Tensor, " pair"], second: Int[Tensor, " pair"], *, order: int, op: Operation
) -> Int[Tensor, " pair"]:
    """Exponent of the answer from the exponents of both operands: their sum, or difference for ``sub``, modulo order.

    Example:
        >>> pair_exponents(torch.tensor([4]), torch.tensor([3]), order=5, op="add").tolist()
        [2]
    """
    return (first - second if op == "sub" else first + second).remainder(order)


def exponent_table(p: int, op: Operation) -> Int[Tensor, "first second"]:
    """Exponent of the answer for every pair of exponents, [order, order]."""
    order = p - 1 if op == "mul" else p
    grid = torch.cartesian_prod(torch.arange(order), torch.arange(order))
    return pair_exponents(grid[:, 0], grid[:, 1], order=order, op=op).reshape(order, order)
