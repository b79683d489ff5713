# SPDX-License-Identifier: Apache-2.0
"""Shares counted by configuration: seeds of one are no evidence of their own."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from scoring.statistics import Estimate, share


@dataclass(frozen=True)
class Counted:
    """One share, counted twice.

    Attributes:
        runs: Of the runs.
        configurations: Of the configurations; see `counted`.
    """

    runs: Estimate
    configurations: Estimate

    def __str__(self) -> str:
        return f"{self.runs.counted}; {self.configurations}"


def counted(hits: Iterable[tuple[str, bool]], *, every: bool) -> Counted:
    """A share of runs, and of configurations.

    Args:
        hits: Configuration of each run, and whether what is counted holds for it.
        every: Whether it must hold for all seeds of a configuration (being right), or for one of them (a false alarm).
    """
    groups: defaultdict[str, list[bool]] = defaultdict(list)
    for configuration, hit in hits:
        groups[configuration].append(hit)
    holds = [all(group) if every else any(group) for group in groups.values()]
    runs = [hit for group in groups.values() for hit in group]
    return Counted(share(sum(runs), len(runs)), share(sum(holds), len(holds)))


def configuration_of(facts: Mapping[str, Any]) -> str:
    """What names the configuration of a run: all of its definition but the seed."""
    if "family" in facts:
        return f"{facts['family']}-{facts['config']}"
    if "spec" not in facts:
        return str(facts["name"])
    return json.dumps({name: value for name, value in facts["spec"].items() if name != "seed"}, sort_keys=True)
