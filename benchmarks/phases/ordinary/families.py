# SPDX-License-Identifier: Apache-2.0
"""Every ordinary training, by family; which part of the pool a family belongs to is fixed by the file it stands in."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ordinary.families_calibration import CALIBRATION, Family
from ordinary.families_test import TEST
from ordinary.spec import OrdinarySpec, Part

SEEDS = (0, 1)
THIRD_SEED = 2
"""Of configurations that stand alone in their family."""
PARTS: Mapping[Part, Mapping[str, Family]] = {"ordinary_calibration": CALIBRATION, "ordinary_test": TEST}


def all_ordinary() -> list[OrdinarySpec]:
    """Every run, each once; one seed of all configurations before the next."""
    by_part = [list(_runs(part, families)) for part, families in PARTS.items()]
    runs = [spec for runs in by_part for spec in runs]
    return sorted(runs, key=lambda spec: spec.seed)


def _runs(part: Part, families: Mapping[str, Family]) -> Iterator[OrdinarySpec]:
    for name, family in families.items():
        shared = {key: value for key, value in family.items() if key != "configs"}
        seeds = (*SEEDS, THIRD_SEED) if len(family["configs"]) == 1 else SEEDS
        for config, changes in family["configs"].items():
            spec = OrdinarySpec(family=name, config=config, seed=0, part=part, **{**shared, **changes})
            yield from (replace(spec, seed=seed) for seed in seeds)
