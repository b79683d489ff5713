# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from lightning_interp.sources.checkpoints.content import content_of
from lightning_interp.sources.checkpoints.equal_contents import KnownContents
from lightning_interp.sources.checkpoints.format import Found, Header
from lightning_interp.sources.checkpoints.integrity import (
    Inspected,
    check_headers,
    check_holes,
    check_order,
)

SHAPES = {"a": (2, 3), "b": (2,)}


def inspected(step, *, named=None, shapes=SHAPES, content=None, where=None):
    found = Found(where or f"step{step}.pt", "torch", (f"step{step}.pt",), step if named is None else named)
    return Inspected(found, Header(step, 0, shapes, content), step)


def kinds(findings):
    return [(finding.step, finding.kind, finding.left_out) for finding in findings]


def test_sound_headers_are_kept_in_order():
    kept, findings = check_headers([inspected(20), inspected(0), inspected(10)])
    assert [each.step for each in kept] == [0, 10, 20] and findings == []


def test_other_shapes_than_most_are_left_out_and_named():
    kept, findings = check_headers([inspected(0), inspected(1, shapes={"a": (2, 4), "c": (1,)}), inspected(2)])
    assert [each.step for each in kept] == [0, 2]
    assert kinds(findings) == [(1, "shapes", True)]
    assert "a 2x4, elsewhere 2x3, b missing, elsewhere 2, c 1, elsewhere missing" in findings[0].text


def test_two_checkpoints_of_one_step_leave_out_the_second():
    kept, findings = check_headers([inspected(0, where="a"), inspected(0, where="b")])
    assert [each.found.where for each in kept] == ["a"]
    assert kinds(findings) == [(0, "same_step", True)]


def test_equal_checksums_are_duplicates_before_anything_is_read():
    kept, findings = check_headers([inspected(0, content="x"), inspected(1, content="x"), inspected(2, content="y")])
    assert [each.step for each in kept] == [0, 2]
    assert kinds(findings) == [(1, "duplicate", True)] and "step 0" in findings[0].text


def test_of_equal_checkpoints_with_others_between_them_none_is_trusted():
    kept, findings = check_headers([inspected(0, content="x"), inspected(1, content="y"), inspected(2, content="x")])
    assert [each.step for each in kept] == [1]
    assert kinds(findings) == [(0, "duplicate", True), (2, "duplicate", True)] and "neither is trusted" in findings[0].text


def test_contents_that_come_back_are_found_as_they_are_read():
    known = KnownContents()
    assert [known.findings(step, f"s{step}", digest, {}) for step, digest in ((0, "x"), (1, "y"))] == [[], []]
    assert kinds(known.findings(2, "s2", "x", {})) == [(2, "duplicate", True), (0, "duplicate", False)]
    assert kinds(known.findings(3, "s3", "y", {})) == [(3, "duplicate", True)]


def test_one_tensor_of_another_step_is_found_and_one_that_rested_is_not():
    known = KnownContents()
    marks = [{"a": "1", "b": "0"}, {"a": "2", "b": "0"}, {"a": "3", "b": "0"}, {"a": "1", "b": "5"}]
    found = [known.findings(step, f"s{step}", str(step), each) for step, each in enumerate(marks)]
    assert found[:3] == [[], [], []] and kinds(found[3]) == [(3, "copied", False), (0, "copied", False)]
    assert found[3][0].text.startswith("a bit for bit as at step 0")


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128, torch.float8_e4m3fn, torch.float8_e5m2])
def test_numbers_of_unusual_kinds_are_seen_to_be_none(dtype):
    good = torch.ones(80).to(dtype)
    bad = torch.full((80,), float("nan")).to(dtype)
    assert content_of({"w": good}).not_finite == () and content_of({"w": bad}).not_finite == ("w",)


def test_a_step_that_differs_from_its_name_is_told():
    kept, findings = check_headers([inspected(300, named=500)])
    assert len(kept) == 1 and kinds(findings) == [(300, "step_differs", False)]


@pytest.mark.parametrize(
    ("steps", "holes"),
    [
        ([0, 10, 20, 30, 40, 50], 0),
        ([0, 10, 20, 50, 60, 70, 80], 1),
        ([0, 1, 2, 5, 10, 20, 50, 100], 0),  # evenly spaced on a log axis: no hole
        ([0, 10, 30], 0),  # too few to know
    ],
)
def test_holes_are_found_where_steps_are_even(steps, holes):
    assert len(check_holes(steps, "folder")) == holes


def test_digests_differ_by_any_byte_name_shape_or_dtype():
    base = {"a": torch.arange(6.0).reshape(2, 3)}
    others = [
        {"a": base["a"] + torch.tensor([0.0, 0, 1e-5])},
        {"b": base["a"]},
        {"a": base["a"].reshape(3, 2)},
        {"a": base["a"].double()},
    ]
    digests = [content_of(tensors).digest for tensors in (base, *others)]
    assert len(set(digests)) == 5
    assert content_of({"a": base["a"].t().contiguous().t()}).digest == digests[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_numbers_that_are_none_are_found_in_every_dtype(dtype, bad):
    tensors = {
        "fine": torch.ones(5, dtype=dtype),
        "bad": torch.zeros(3, 4, dtype=dtype),
        "whole": torch.ones(2, dtype=torch.int64),
    }
    assert content_of(tensors).not_finite == ()
    tensors["bad"][1, 2] = bad
    assert content_of(tensors).not_finite == ("bad",)


def test_finite_numbers_whose_squares_are_not_are_finite():
    assert content_of({"a": torch.full((3,), 1e30)}).not_finite == ()


def walk(count=20, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return list(torch.randn(count, 1000, generator=draw).cumsum(0) + 100)


def test_a_steady_walk_has_no_jump():
    samples = walk()
    assert check_order(range(20), samples, [str(i) for i in range(20)]) == []


def test_foreign_weights_in_between_are_a_jump():
    samples = walk()
    samples[7] = torch.randn(1000)
    found = check_order(range(20), samples, [str(i) for i in range(20)])
    assert [(finding.step, finding.kind) for finding in found] == [(7, "jump")]


def test_the_sample_is_of_the_same_numbers_in_every_checkpoint():
    tensors = {"a": torch.arange(100_000.0), "b": torch.ones(7)}
    sample = content_of(tensors).sample
    assert len(sample) <= 16_384 + 2
    moved = content_of({**tensors, "a": tensors["a"] + 1}).sample
    assert torch.equal((moved - sample)[:-1].unique(), torch.tensor([1.0]))
