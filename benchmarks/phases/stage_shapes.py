# SPDX-License-Identifier: Apache-2.0
"""How well stages find the change points of loss curves that are drawn from known pieces.

``python benchmarks/phases/stage_shapes.py`` takes half a minute. A curve stands still, falls, stands still, falls again and
stands still; its pieces are straight in log loss over log step, of random length, depth, noise and number of records. A
second set only falls: nothing in it is a breakthrough or a collapse.
"""

import argparse
import math
import random
from collections import Counter
from itertools import pairwise
from statistics import median, quantiles

from scoring.statistics import share

from lightning_interp.phases.stages import stages

CURVES = 300
NAMES = ("warm_up", "descent", "plateau", "breakthrough", "saturation")


def drawn(draw: random.Random) -> tuple[list[int], list[float], list[int]]:
    """Steps and losses of one curve of five pieces, and the four steps at which it turns."""
    lengths = [draw.uniform(0.8, 2.5) for _ in NAMES]
    ends = [sum(lengths[: index + 1]) + 2.0 for index in range(len(lengths))]
    slopes = [0.0, -draw.uniform(0.3, 1.0), 0.0, -draw.uniform(0.3, 1.0), 0.0]
    noise, records = draw.choice((0.01, 0.03, 0.1)), draw.choice((300, 1000, 5000))
    last = math.exp(ends[-1])
    steps = sorted(
        {round(last * (i / records) ** 2) for i in range(records + 1)} | {round(math.exp(t / 20)) for t in range(120)}
    )
    knots = [0.0, *ends]
    losses = []
    for step in (step for step in steps if step <= last):
        time = math.log(step + 1)
        height = sum(slope * max(0.0, min(time, b) - a) for slope, (a, b) in zip(slopes, pairwise(knots), strict=True))
        losses.append(4.0 * math.exp(height + draw.gauss(0, noise)))
    return steps[: len(losses)], losses, [round(math.exp(end)) for end in ends[:-1]]


def falling(draw: random.Random) -> tuple[list[int], list[float]]:
    """Steps and losses of a power law with noise."""
    power, noise, records = draw.uniform(0.1, 1.5), draw.choice((0.01, 0.03, 0.1)), draw.choice((300, 1000, 5000))
    steps = [round(20 * records * (i / records) ** 2) for i in range(1, records + 1)]
    steps = sorted(set(steps))
    return steps, [4.0 * (step + 1) ** -power * math.exp(draw.gauss(0, noise)) for step in steps]


def main() -> None:
    """The command."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    draw, right, errors, seen = random.Random(0), 0, [], Counter[str]()
    for _ in range(CURVES):
        steps, losses, turns = drawn(draw)
        found = stages(steps, losses)
        names = tuple(stage.name for stage in found)
        seen[", ".join(names)] += names != NAMES
        if names == NAMES:
            right += 1
            errors += [abs(math.log10((s.start + 1) / (turn + 1))) for s, turn in zip(found[1:], turns, strict=True)]
    print(f"five pieces: the right stages in the right order in {share(right, CURVES)}")
    print(f"their boundaries: median {median(errors):.3f} decades, nine in ten under {quantiles(errors, n=10)[-1]:.3f}")
    print("else, most often:", *(f"{count} x {names}" for names, count in seen.most_common(3)), sep="\n  ")
    named = Counter(name for _ in range(CURVES) for name in {stage.name for stage in stages(*falling(draw))})
    for name in ("breakthrough", "collapse", "instability"):
        print(f"power laws: {name} in {share(named[name], CURVES)}")


if __name__ == "__main__":
    main()
