# SPDX-License-Identifier: Apache-2.0
"""Seeded changes of real files: each is answered or refused in words; `make verify` takes 2,000 of each kind.

Run directories have a test of their own, tests/cli/test_damaged_run_directories.py.
"""

import file_fuzz
import pytest

SHARE = 0.3
"""Least share of inputs that get past the parser: what refuses everything tests nothing."""
FEW, MANY = 100, 2000


@pytest.fixture(scope="module", params=sorted(file_fuzz.KINDS))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def seeds(kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp(kind)
    file_fuzz.KINDS[kind][0](folder)
    return folder


def check(kind, seeds, count):
    outcomes = file_fuzz.fuzz(kind, 0, count, seeds)
    told = file_fuzz.table(outcomes)
    print(told)
    assert set(outcomes.values()) <= {"answered", "refused in part", "refused"}, told
    assert list(outcomes.values()).count("answered") >= SHARE * count, told


def test_no_file_ends_in_a_trace_or_hangs(kind, seeds):
    check(kind, seeds, FEW)


@pytest.mark.verify
def test_no_file_of_two_thousand_ends_in_a_trace_or_hangs(kind, seeds):
    check(kind, seeds, MANY)
