# SPDX-License-Identifier: Apache-2.0
"""What finding phases costs: a whole timeline by the number of records, and one update of the online detector.

``python benchmarks/phase_speed.py`` takes about a minute on one core.
"""

import argparse
import platform
import random
import time
from statistics import median, quantiles

from lightning_interp.phases import PhaseDetector, detect_phases

LENGTHS = (1_000, 10_000, 100_000)
SERIES = ("train_loss", "heldout_loss", "train_accuracy", "heldout_accuracy", "weight_norm", "effective_rank")
REPEATS = 5


def history(records: int, names: tuple[str, ...]) -> dict[str, tuple[list[int], list[float]]]:
    """A noisy run: losses fall, what is a share rises."""
    draw, steps = random.Random(0), list(range(records))
    found = {}
    for name in names:
        rising = name.endswith("accuracy")
        values = [5.0 / (1 + step / 300) * (1 + 0.02 * draw.gauss(0, 1)) for step in steps]
        found[name] = steps, [max(0.0, min(1.0, 1 - value / 5)) if rising else max(value, 1e-6) for value in values]
    return found


def timeline_seconds(records: int, names: tuple[str, ...]) -> list[float]:
    """Processor seconds of whole timelines."""
    metrics, found = history(records, names), []
    for _ in range(REPEATS):
        began = time.process_time()
        detect_phases(metrics, n_classes=100)
        found.append(time.process_time() - began)
    return found


def update_seconds(records: int) -> list[float]:
    """Processor seconds of each update of the online detector."""
    metrics, detector, found = history(records, SERIES), PhaseDetector(n_classes=100), []
    for step in range(records):
        row = {name: values[step] for name, (_, values) in metrics.items()}
        began = time.perf_counter()
        detector.update(step, row)
        found.append(time.perf_counter() - began)
    return found


def main() -> None:
    """The command."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}; median of {REPEATS} [least .. greatest]")
    for label, names in (("losses only", SERIES[:2]), ("six series", SERIES)):
        for records in LENGTHS:
            took = timeline_seconds(records, names)
            print(f"timeline of {records:,} records, {label}: {median(took):.3f} s [{min(took):.3f} .. {max(took):.3f}]")
    for records in LENGTHS:
        took = update_seconds(records)
        mid, high = 1e6 * median(took), 1e6 * quantiles(took, n=100)[-1]
        print(f"update, {records:,} records: p50 {mid:.0f} us, p99 {high:.0f} us, longest {1e3 * max(took):.2f} ms")


if __name__ == "__main__":
    main()
