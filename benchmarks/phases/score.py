# SPDX-License-Identifier: Apache-2.0
"""How good phase detection is on a pool of labelled runs: early warnings beside those of others, timelines and stages.

    python benchmarks/phases/score.py                              every table, part by part (about half a minute)
    python benchmarks/phases/score.py --figure scores.html         also a picture of all unseen runs
    python benchmarks/phases/score.py my_pool --json               another pool, as JSON values

Nothing is trained and nothing is fitted but one threshold for each score, on the part ``calibration``; the parts whose names
begin with ``unseen_`` are also scored together, as ``test``. README.md beside this file says what is in the pool; `pool.py`
records one. Which part is being scored is told on standard error.

Exit code: 0 if everything was scored, 2 if the pool cannot be read or the picture cannot be written.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pool_file import RUNS, read_pool
from scoring.runs import ScoredRun
from scoring.scorecard import PartScores, score_pool
from scoring.tables import show
from scoring.warning_figure import warning_figure

from lightning_interp.cli.exit_codes import BAD_INPUT, DONE
from lightning_interp.cli.picture import check_figure, write_picture
from lightning_interp.cli.plain_json import print_json
from lightning_interp.core.console import one_line
from lightning_interp.core.errors import ConfigError, MetricsError
from lightning_interp.core.plain_values import finite

DRAWN = "test"
"""Part of a pool that the picture shows: everything unseen."""


def score(pool: Path, *, as_json: bool, figure: Path | None) -> None:
    """Score a pool, draw the picture if one is asked for, and print the tables or the JSON.

    Raises:
        ConfigError: The picture cannot be written.
        MetricsError: The pool cannot be read.
    """
    if figure is not None:
        check_figure(figure)
    runs = [ScoredRun.of(entry.facts, entry.metrics) for entry in read_pool(pool)]
    _tell(f"{len(runs)} runs in {pool}")
    scores = score_pool(runs, on_part=lambda part: _tell(f"  scored: {part}"))
    if figure is not None:
        title = f"Foreseeing generalization in {sum(scores[DRAWN].kinds.values())} unseen runs"
        write_picture(warning_figure(scores[DRAWN].warnings, title=title), figure)
    if as_json:
        print_json(as_plain(scores))
    else:
        show(scores)


def as_plain(scores: Mapping[str, PartScores]) -> dict[str, Any]:
    """Scores by part as JSON values; null if there was nothing to measure."""
    plain = {part: asdict(found) for part, found in scores.items()}
    for found in plain.values():
        for timelines in found["timelines"].values():
            timelines["confusion"] = [[*names, count] for names, count in sorted(timelines["confusion"].items())]
    return dict(finite(plain))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path, nargs="?", default=RUNS, help="its folder (default: runs/ beside this file)")
    parser.add_argument("--json", action="store_true", help="print the scores as one JSON object on standard output")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="also write a picture: .html (needs no network) or .png")
    args = parser.parse_args(arguments)
    try:
        score(args.pool, as_json=args.json, figure=args.figure)
    except (ConfigError, MetricsError) as err:
        _tell(f"error: {err}")
        return BAD_INPUT
    return DONE


def _tell(sentence: str) -> None:
    print(one_line(sentence), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
