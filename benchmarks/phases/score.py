# SPDX-License-Identifier: Apache-2.0
"""How good phase detection is on pools of labelled runs: verdicts and early warnings, the warnings of others, timelines.

    python benchmarks/phases/score.py                              every table, part by part (some minutes)
    python benchmarks/phases/score.py --figure scores.html         also a picture of all unseen runs
    python benchmarks/phases/score.py my_pool --json               another pool, as JSON values
    python benchmarks/phases/score.py --part ordinary_calibration  one part; no other run is looked at
    python benchmarks/phases/score.py --facts none                 verdicts of a detector that is told nothing beside series

Nothing is trained and nothing is fitted but one threshold for each rival, on the part ``calibration``; the parts whose names
begin with ``unseen_`` are also scored together, as ``test``. Without a pool both are scored, the runs made to grok or to
memorize and the ordinary trainings. README.md beside this file says what is in them; `pool.py` records them. Which part is
being scored is told on standard error.

Exit code: 0 if everything was scored, 2 if a pool cannot be read or the picture cannot be written.
"""

import argparse
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pool_file import ORDINARY_RUNS, RUNS, is_ordinary, pools_in, read_ordinary, read_pool
from scoring.judged import TOLD, JudgedRun, Told
from scoring.runs import ScoredRun
from scoring.scorecard import PartScores, score_pool
from scoring.tables import show
from scoring.verdict_card import verdict_cards
from scoring.verdict_tables import show_verdicts
from scoring.warning_figure import warning_figure

from lightning_interp.cli.exit_codes import BAD_INPUT, DONE
from lightning_interp.cli.picture import check_figure, write_picture
from lightning_interp.cli.plain_json import print_json
from lightning_interp.core.console import one_line
from lightning_interp.core.errors import ConfigError, MetricsError
from lightning_interp.core.plain_values import finite

DRAWN = "test"
"""Part of a pool that the picture shows: everything unseen."""


@dataclass(frozen=True)
class Wanted:
    """What is to be scored.

    Attributes:
        pools: Folders.
        parts: Names of parts, None for all.
        told: What the detector is told.
        as_json: JSON on standard output in place of tables.
        figure: Where a picture goes, None for none.
    """

    pools: Sequence[Path]
    parts: Collection[str] | None = None
    told: Sequence[Told] = TOLD
    as_json: bool = False
    figure: Path | None = None


def score(wanted: Wanted) -> None:
    """Score pools, draw the picture if one is asked for, and print the tables or the JSON.

    Raises:
        ConfigError: The picture cannot be written.
        MetricsError: A pool cannot be read.
    """
    if wanted.figure is not None:
        check_figure(wanted.figure)
    runs, judged = read_runs(wanted)
    scores = score_pool(runs, on_part=lambda part: _tell(f"  scored: {part}")) if runs else {}
    if wanted.figure is not None:
        title = f"Foreseeing generalization in {sum(scores[DRAWN].kinds.values())} unseen runs"
        write_picture(warning_figure(scores[DRAWN].warnings, title=title), wanted.figure)
    cards = verdict_cards(judged, parts=wanted.parts, told=wanted.told, on_part=lambda part: _tell(f"  verdicts: {part}"))
    if wanted.as_json:
        print_json({**as_plain(scores), "verdicts": finite({part: asdict(card) for part, card in cards.items()})})
    else:
        if runs:
            show(scores)
        show_verdicts(cards)


def read_runs(wanted: Wanted) -> tuple[list[ScoredRun], list[JudgedRun]]:
    """Runs of the wanted parts: those of phases for the warnings of others, and all of them with what is right for them."""
    runs, judged = list[ScoredRun](), list[JudgedRun]()
    for pool in wanted.pools:
        ordinary = is_ordinary(pool)
        entries = read_ordinary(pool) if ordinary else read_pool(pool)
        kept = [entry for entry in entries if wanted.parts is None or entry.facts["part"] in wanted.parts]
        _tell(f"{len(kept)} runs in {pool}")
        for entry in kept:
            if ordinary:
                judged.append(JudgedRun.ordinary(entry))
            else:
                runs.append(ScoredRun.of(entry.facts, entry.metrics))
                judged.append(JudgedRun.phased(runs[-1], entry.facts))
    return runs, judged


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
    parser.add_argument("pool", type=Path, nargs="?", help="its folder (default: runs/ and ordinary_runs/*/ beside it)")
    parser.add_argument("--part", action="append", metavar="NAME", help="score this part alone; can be given again")
    parser.add_argument("--facts", action="append", choices=TOLD, help="tell the detector this alone (default: all in turn)")
    parser.add_argument("--json", action="store_true", help="print the scores as one JSON object on standard output")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="also write a picture: .html (needs no network) or .png")
    args = parser.parse_args(arguments)
    pools = [args.pool] if args.pool else [RUNS, *pools_in(ORDINARY_RUNS)]
    try:
        score(Wanted(pools, args.part, args.facts or TOLD, args.json, args.figure))
    except (ConfigError, MetricsError) as err:
        _tell(f"error: {err}")
        return BAD_INPUT
    return DONE


def _tell(sentence: str) -> None:
    print(one_line(sentence), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
