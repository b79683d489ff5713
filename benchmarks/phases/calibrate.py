# SPDX-License-Identifier: Apache-2.0
"""Fit what the detectors take from the pool, on its calibration part alone, and write it into the package.

``python benchmarks/phases/calibrate.py`` prints what it finds; with ``--write`` it replaces ``coefficients.py`` and
``state_model.py`` in ``lightning_interp/phases/``. With ``--card`` it fits nothing: it scores the early warning on unseen
parts and writes ``early_warning_scores.py`` there, which users are shown.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from hmm_fit import fit_hmm, log_likelihood
from numpy.typing import NDArray
from pool_file import RUNS, read_pool
from scoring.courses import Course
from scoring.runs import ScoredRun
from scoring.scorecard import CALIBRATION, CURVES, OWN_RULE, UNSEEN, our_warning
from scoring.warning_scores import score_warning

from lightning_interp.phases.gaussian_hmm import GaussianHMM
from lightning_interp.phases.latent_states import FEATURES, features, standardised

PACKAGE = Path(__file__).parents[2] / "lightning_interp" / "phases"
COEFFICIENTS, STATES, CARD = (PACKAGE / f"{name}.py" for name in ("coefficients", "state_model", "early_warning_scores"))
"""What is written into the package."""
PERCENTILE_STEP, PERCENTILE_MARGIN = 0.5, 1.0
"""Null deviations: what the threshold is rounded up to, and how far over every negative it lies, whose tail is not known."""
MOST_STATES = 8
"""As many as the source tries; more add little to runs left out, and nobody can tell them apart."""
FOLDS = 5
Points = NDArray[np.float64]


def percentile_threshold(runs: Sequence[ScoredRun]) -> float:
    """Null deviations that the held-out percentile of no negative comes near, rounded up."""
    courses = (
        Course(run.metrics["step"], run.metrics["heldout_percentile_z"])
        for run in runs
        if run.negative and "heldout_percentile_z" in run.metrics
    )
    least = max(course.highest() for course in courses) + PERCENTILE_MARGIN
    return float(np.ceil(least / PERCENTILE_STEP) * PERCENTILE_STEP)


def fit_states(runs: Sequence[ScoredRun]) -> tuple[dict[str, Any], list[str]]:
    """The hidden Markov model, as plain values, and how the numbers of states did on runs left out of the fit."""
    raw = [features(*_rows(run))[1] for run in runs]
    raw = [points for points in raw if len(points)]
    together = np.concatenate(raw)
    mean, deviation = np.nanmean(together, 0), np.nanstd(together, 0)
    sequences = [standardised(points, mean, deviation) for points in raw]
    scores = {k: _held_out(sequences, k) for k in range(1, MOST_STATES + 1)}
    errors = {k: found.std(ddof=1) / np.sqrt(FOLDS) for k, found in scores.items()}
    top = max(scores, key=lambda k: scores[k].mean())
    best = min(k for k in scores if scores[k].mean() >= scores[top].mean() - errors[top])
    said = [f"{k} states: {scores[k].mean():.3f} ± {errors[k]:.3f} nats a point, held out" for k in scores]
    said.append(f"taken: {best} states, the fewest within one standard error of the best")
    model = fit_hmm(sequences, best)
    return _plain(model, mean, deviation) | {"generalizing": _generalizing(model, runs, mean, deviation)}, said


def _generalizing(model: GaussianHMM, runs: Sequence[ScoredRun], mean: Points, deviation: Points) -> list[float]:
    """By state, the share of generalizing runs, before they generalize, in the time spent there."""
    spent = {True: np.zeros(model.states), False: np.zeros(model.states)}
    for run in runs:
        if not (run.positive or run.negative):
            continue
        steps, raw = features(*_rows(run))
        until = len(steps) if run.negative else int(np.searchsorted(steps, run.label.t_grok or 0))
        if until:
            spent[run.positive] += model.filtered(standardised(raw[:until], mean, deviation)).mean(0)
    shares = {sort: times / times.sum() for sort, times in spent.items()}
    found: list[float] = (shares[True] / np.maximum(shares[True] + shares[False], 1e-12)).round(4).tolist()
    return found


def _rows(run: ScoredRun) -> tuple[list[int], list[dict[str, float]]]:
    names = [name for name in FEATURES if name in run.metrics]
    rows = [{name: float(run.metrics[name][i]) for name in names} for i in range(len(run.metrics["step"]))]
    return [int(step) for step in run.metrics["step"]], rows


def _held_out(sequences: Sequence[Points], states: int) -> Points:
    """Log-likelihood a point of runs left out, fold by fold; whole runs are left out, since neighbours are alike."""
    found = []
    for fold in range(FOLDS):
        inside = [points for index, points in enumerate(sequences) if index % FOLDS != fold]
        outside = [points for index, points in enumerate(sequences) if index % FOLDS == fold]
        model = fit_hmm(inside, states, restarts=3)
        found.append(sum(log_likelihood(model, points) for points in outside) / sum(map(len, outside)))
    return np.array(found)


def _plain(model: GaussianHMM, mean: Points, deviation: Points) -> dict[str, Any]:
    parts = {"start": model.start, "transition": model.transition, "means": model.means, "variances": model.variances}
    return {name: values.round(4).tolist() for name, values in (parts | {"mean": mean, "deviation": deviation}).items()}


HEAD = '''# SPDX-License-Identifier: Apache-2.0
"""{says} Written by ``benchmarks/phases/calibrate.py``; do not edit."""

'''


def write_coefficients(threshold: float) -> None:
    """Replace the module of coefficients."""
    text = HEAD.format(says="Numbers fitted on the calibration part of the pool.")
    _write(COEFFICIENTS, f"{text}PERCENTILE_THRESHOLD = {threshold}\n")


def write_states(plain: dict[str, Any], version: str) -> None:
    """Replace the module of the state model."""
    text = HEAD.format(says="Latent states fitted on the calibration part of the pool.")
    text += "import numpy as np\n\nfrom lightning_interp.phases.gaussian_hmm import GaussianHMM\n"
    text += "from lightning_interp.phases.latent_states import StateModel\n\n"
    parts = ", ".join(f"{name}=np.array({plain[name]!r})" for name in ("start", "transition", "means", "variances"))
    text += f"STATES = StateModel(version={version!r}, hmm=GaussianHMM({parts}), "
    last = ("mean", "deviation", "generalizing")
    text += ", ".join(f"{name}=np.array({plain[name]!r})" for name in last) + ")\n"
    _write(STATES, text)


def write_card(runs: Sequence[ScoredRun]) -> None:
    """Replace the module that says how the early warning did on unseen runs."""
    text = HEAD.format(says="How the early warning did on runs it had not seen.").replace(".py``", ".py --card``")
    measured = {}
    for source, names in (("held-out percentile", None), ("held-out accuracy", CURVES)):
        found = score_warning(source, partial(our_warning, names=names), OWN_RULE, runs)
        measured[source] = (
            f"{found.detected.counted} detected in time, {found.false_alarms.counted} false alarms, "
            f"median lead {found.lead_share:.0%} of the step of generalization"
        )
        print(f"{source}: {measured[source]}")
    _write(CARD, text + f"MEASURED: dict[str, str] = {measured!r}\n")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "ruff", "format", "-q", str(path)], check=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, default=RUNS, help="where the metrics are (default: beside this file)")
    parser.add_argument("--write", action="store_true", help="replace the fitted modules of the package")
    parser.add_argument("--card", action="store_true", help="score the early warning on the unseen runs and write its card")
    args = parser.parse_args()
    runs = [ScoredRun.of(entry.facts, entry.metrics) for entry in read_pool(args.pool)]
    if args.card:
        write_card([run for run in runs if run.part.startswith(UNSEEN)])
        return
    runs = [run for run in runs if run.part == CALIBRATION]
    print(f"{len(runs)} runs: {sum(r.positive for r in runs)} positive, {sum(r.negative for r in runs)} negative")
    threshold = percentile_threshold(runs)
    print(f"percentile: over {threshold} null deviations")
    plain, said = fit_states(runs)
    print(*said, sep="\n")
    if args.write:
        write_coefficients(threshold)
        write_states(plain, version=f"{len(runs)} runs")


if __name__ == "__main__":
    main()
