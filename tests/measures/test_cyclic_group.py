# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from lightning_interp.core.errors import ConfigError
from lightning_interp.measures import CyclicGroupTask, exponent_table, tokens_by_exponent
from lightning_interp.measures.cyclic_group import exponents_by_token, is_prime, primitive_root

TRANSFORMER = {
    "embed.weight": (114, 128),
    "pos": (3, 128),
    "attn.in_proj_weight": (384, 128),
    "attn.out_proj.weight": (128, 128),
    "mlp.0.weight": (512, 128),
    "mlp.0.bias": (512,),
    "mlp.2.weight": (128, 512),
    "head.weight": (113, 128),
}


def unchecked_task(**arguments):
    """A task as users make it, without the argument types that only tests check ahead of the constructor."""
    task = object.__new__(CyclicGroupTask)
    for name, value in {"operands": (0, 1), **arguments}.items():
        object.__setattr__(task, name, value)
    task.__post_init__()
    return task


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"p": 2, "op": "add"}, "`p` must be an integer of 3 or more, got 2"),
        ({"p": True, "op": "add"}, "`p` must be an integer"),
        ({"p": 113.0, "op": "add"}, "`p` must be an integer"),
        ({"p": 113, "op": "div"}, "`op` must be one of 'add', 'sub', 'mul', got 'div'"),
        ({"p": 9, "op": "mul"}, "`p` must be prime for op='mul', got 9"),
        ({"p": 7, "op": "add", "operands": (1, 1)}, "`operands` must be two different column indices"),
        ({"p": 7, "op": "add", "operands": (0, -1)}, "`operands` must be two different column indices"),
        ({"p": 7, "op": "add", "operands": 3}, "`operands` must be two different column indices, got 3"),
    ],
)
def test_cyclic_group_task_names_the_wrong_argument(arguments, message):
    with pytest.raises(ConfigError, match=message):
        unchecked_task(**arguments)


def test_cyclic_group_task_takes_operands_as_a_list():
    assert unchecked_task(p=7, op="add", operands=[1, 3]).operands == (1, 3)


def test_order_of_multiplication_is_one_less():
    assert (CyclicGroupTask(7, "mul").order, CyclicGroupTask(7, "sub").order) == (6, 7)


@pytest.mark.parametrize("p", [3, 5, 23, 97, 113])
def test_primitive_root_generates_every_nonzero_residue(p):
    assert {pow(primitive_root(p), e, p) for e in range(p - 1)} == set(range(1, p))


def test_is_prime_agrees_with_the_list_of_small_primes():
    assert [n for n in range(30) if is_prime(n)] == [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]


@pytest.mark.parametrize(("p", "op"), [(6, "add"), (7, "sub"), (13, "mul")])
def test_exponents_by_token_invert_tokens_by_exponent(p, op):
    tokens = tokens_by_exponent(p, op)
    assert exponents_by_token(p, op)[tokens].tolist() == list(range(len(tokens)))


def test_exponents_by_token_mark_zero_in_multiplication():
    assert exponents_by_token(7, "mul")[0] == -1


@pytest.mark.parametrize(("p", "op"), [(6, "add"), (7, "sub"), (13, "mul")])
def test_exponent_table_maps_to_the_answer_of_the_operation(p, op):
    tokens = tokens_by_exponent(p, op)
    answer = {"add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b}[op]
    slow = torch.tensor([[answer(int(a), int(b)) % p for b in tokens] for a in tokens])
    assert torch.equal(tokens[exponent_table(p, op)], slow)


def test_resolve_finds_the_matrices_of_a_transformer():
    task = CyclicGroupTask(113, "add").resolve(TRANSFORMER)
    assert (task.embedding, task.unembedding, task.mlp_out) == ("embed.weight", "head.weight", "mlp.2.weight")


def test_resolve_tells_embedding_by_its_extra_token_whatever_the_names():
    shapes = {"x.weight": (114, 32), "y.weight": (113, 32)}
    task = CyclicGroupTask(113, "add").resolve(shapes)
    assert (task.embedding, task.unembedding) == ("x.weight", "y.weight")


def test_resolve_accepts_input_by_output_layout():
    shapes = {"embed.W_E": (128, 114), "mlp.W_in": (128, 512), "mlp.W_out": (512, 128), "unembed.W_U": (128, 114)}
    task = CyclicGroupTask(113, "add").resolve(shapes)
    assert (task.embedding, task.unembedding, task.mlp_out) == ("embed.W_E", "unembed.W_U", "mlp.W_out")


def test_resolve_leaves_mlp_out_unset_without_an_mlp():
    shapes = {"embed.weight": (23, 16), "hidden.weight": (64, 32), "out.weight": (23, 64)}
    assert CyclicGroupTask(23, "add").resolve(shapes).mlp_out is None


def test_resolve_is_idempotent():
    task = CyclicGroupTask(113, "add").resolve(TRANSFORMER)
    assert task.resolve(TRANSFORMER) == task


def test_resolve_keeps_given_names():
    task = CyclicGroupTask(113, "add", embedding="head.weight", unembedding="embed.weight", mlp_out="none")
    assert task.resolve(TRANSFORMER) == task


def test_resolve_lists_candidates_where_shapes_and_names_are_equal():
    shapes = {"left.weight": (23, 16), "right.weight": (23, 16)}
    with pytest.raises(
        ConfigError, match=r"`unembedding` is not clear, candidates: left\.weight \(23, 16\), right\.weight \(23, 16\)"
    ):
        CyclicGroupTask(23, "add").resolve(shapes)


def test_resolve_uses_the_one_name_given_to_settle_the_other():
    shapes = {"left.weight": (23, 16), "right.weight": (23, 16)}
    assert CyclicGroupTask(23, "add", embedding="left.weight").resolve(shapes).unembedding == "right.weight"


def test_resolve_refuses_to_guess_the_mlp_of_mixed_layouts():
    shapes = {"W_E": (128, 114), "W_in": (512, 128), "W_out": (128, 512), "W_U": (128, 114)}
    with pytest.raises(ConfigError, match=r"`mlp_out` is not clear, candidates: W_in \(512, 128\), W_out \(128, 512\)"):
        CyclicGroupTask(113, "add").resolve(shapes)


def test_resolve_refuses_to_choose_between_two_blocks():
    shapes = {"b1.0": (512, 128), "b1.2": (128, 512), "b2.0": (512, 128), "b2.2": (128, 512)}
    with pytest.raises(ConfigError, match="`mlp_out` is not clear"):
        CyclicGroupTask(113, "add").resolve({"embed": (114, 128), **shapes, "head": (113, 128)})


def test_resolve_suggests_the_nearest_name():
    with pytest.raises(ConfigError, match=r"`embedding` 'embed\.weights' is no parameter; nearest: embed\.weight"):
        CyclicGroupTask(113, "add", embedding="embed.weights").resolve(TRANSFORMER)


def test_resolve_refuses_a_matrix_of_another_size():
    with pytest.raises(ConfigError, match=r"`unembedding` 'pos' must be a matrix with an axis of 113 or 114"):
        CyclicGroupTask(113, "add", unembedding="pos").resolve(TRANSFORMER)


def test_resolve_refuses_an_mlp_out_without_the_width():
    with pytest.raises(ConfigError, match=r"`mlp_out` 'mlp\.0\.bias' \(512,\) has no axis of the width 128"):
        CyclicGroupTask(113, "add", mlp_out="mlp.0.bias").resolve(TRANSFORMER)


def test_resolve_says_what_to_do_with_a_tied_embedding():
    with pytest.raises(ConfigError, match=r"could be `embedding`.*tied matrix may be passed for both"):
        CyclicGroupTask(113, "add").resolve({"embed.weight": (113, 128)})


def test_resolve_says_when_p_fits_nothing():
    with pytest.raises(ConfigError, match=r"one axis of 59 or 60\).*Check `p`"):
        CyclicGroupTask(59, "add").resolve(TRANSFORMER)
