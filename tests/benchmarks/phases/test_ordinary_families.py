# SPDX-License-Identifier: Apache-2.0
"""What the ordinary part of the pool promises about itself."""

from collections import Counter, defaultdict

import pytest
from ordinary.datasets import DATA, THIRD_PARTY
from ordinary.families import all_ordinary
from ordinary.networks import NETWORKS
from ordinary.spec import OrdinarySpec

SPECS = all_ordinary()


def test_there_are_as_many_runs_and_families_as_promised_and_none_is_large():
    families = Counter(spec.family for spec in SPECS)
    assert len(SPECS) >= 150 and len(families) >= 40
    assert max(families.values()) <= 0.05 * len(SPECS)


def test_a_quarter_and_more_is_trained_on_data_made_by_others():
    for part in ("ordinary_calibration", "ordinary_test"):
        inside = [spec for spec in SPECS if spec.part == part]
        assert sum(spec.data in THIRD_PARTY for spec in inside) >= len(inside) / 4


def test_a_family_lies_in_one_part_and_a_configuration_has_seeds():
    parts, seeds = defaultdict(set), defaultdict(set)
    for spec in SPECS:
        parts[spec.family].add(spec.part)
        seeds[spec.family, spec.config].add(spec.seed)
    assert all(len(found) == 1 for found in parts.values())
    assert all(2 <= len(found) <= 4 for found in seeds.values())


@pytest.mark.parametrize("name", ["loss", "optimizer", "network"])
def test_every_loss_optimizer_and_network_is_on_both_sides_of_the_split(name):
    by_part = {spec.part: set() for spec in SPECS}
    for spec in SPECS:
        by_part[spec.part].add(getattr(spec, name))
    one, other = by_part.values()
    assert one == other


def test_names_are_unique_and_lead_nowhere():
    names = [spec.name for spec in SPECS]
    assert len(set(names)) == len(names) and not any("/" in name or "." in name for name in names)


def test_data_and_networks_are_known():
    assert {spec.data for spec in SPECS} == set(DATA) and {spec.network for spec in SPECS} == set(NETWORKS)


@pytest.mark.parametrize("spec", SPECS[:: len(SPECS) // 8], ids=lambda spec: spec.name)
def test_a_run_can_be_made_again_from_what_the_index_keeps(spec):
    assert OrdinarySpec(**spec.plain()) == spec
