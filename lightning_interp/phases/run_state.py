# SPDX-License-Identifier: Apache-2.0
"""Everything the detector remembers of a run: series, conditions, extremes, what held at the fit, phases and milestones.

`rules` judges conditions, `state_machine` emits phases, `verdict` reads. All of them work on one `RunState`.
"""

import math
from dataclasses import dataclass, field

from lightning_interp.core.timeline import Clause, Interval, Phase
from lightning_interp.phases import limits
from lightning_interp.phases.comparison import Comparison
from lightning_interp.phases.run_series import RunSeries
from lightning_interp.phases.streak import ENTER, Streak

CONDITIONS = {
    "fitting": "the train curve (held-out if there is none) has fallen from its peak",
    "fitted": "the training set is fitted: by accuracy, or without it by a loss of few percent of the null's",
    "learned": "held-out data is better than a constant answer",
    "generalized": "held-out data is solved: by accuracy, or without it by a tenth of the null's loss",
    "improved": "held-out data is better than it was at the fit, and than a constant answer",
    "risen": "the held-out loss has risen from its least, which was under the null, while the train loss fell",
    "lost": "held-out data was better before",
    "unlearned": "the train curve was under half of the null and is back",
    "diverging": "the train loss is over its start and over the null",
    "off_peak": "the averaged held-out curve is under its peak since the fit",
    "new_peak": "the averaged held-out curve is over the peak it had come off",
    "under_null": "the held-out curve is under that of a constant answer",
    "flat": "held-out loss, held-out accuracy and weight norm stand still",
    "percentile": "right held-out answers rank higher than chance puts them",
    "excluded": "without one key frequency the train loss is a multiple of its least since the fit",
    "excluded_turned": "without the key frequencies the train loss is over its least since the fit",
    "rank_falling": "the effective rank falls",
    "gini_rising": "the Fourier Gini rises",
}
"""Every condition, in words."""


@dataclass
class AtFit:
    """Held-out data when the training set was first fitted.

    Attributes:
        step: Record at which the fit is seen.
        outcome: What generalization is judged by, at the first held-out record from there on; None before that.
        is_error: Whether that is a share of wrong answers, not a loss.
        null: Level of a constant answer then.
        risen: Whether the held-out loss had risen by then.
        percentile_z: Deviations of the held-out percentile from its null then; 0 if they are not logged.
    """

    step: int
    outcome: float | None = None
    is_error: bool = False
    null: float = math.nan
    risen: bool = False
    percentile_z: float = 0.0

    @property
    def share(self) -> float:
        """Of the null, what was left of held-out data; infinite before that is known."""
        return math.inf if self.outcome is None else self.outcome / self.null


@dataclass
class Best:
    """Least levels so far, each the worst of three evaluations in a row.

    Attributes:
        fit: Of the train curve.
        outcome: Of what generalization is judged by.
        outcome_step: Step of that.
        heldout_loss: Least 3-evaluation median of the held-out loss.
        heldout_step: Step of that.
        train_then: Train curve at that step.
        error_then: Held-out error at that step, infinite if there is none.
    """

    fit: float = math.inf
    outcome: float = math.inf
    outcome_step: int = 0
    heldout_loss: float = math.inf
    heldout_step: int = 0
    train_then: float = math.inf
    error_then: float = math.inf


@dataclass
class Milestone:
    """A step, the interval it can lie in, and the comparisons that told it."""

    step: int
    interval: Interval
    because: tuple[Clause, ...] = ()


@dataclass
class RunState:
    """See the module.

    Attributes:
        observed: The series.
        streaks: One for each name of `CONDITIONS`.
        judged: Comparisons of each condition at its latest evaluation.
        at_fit: Held-out data at the fit; None before a fit is in sight.
        best: Least levels so far.
        settled_peak: Peak that the averaged held-out curve had come off when circuit formation began.
        steepest: Steepest fall of the log weight norm so far, per e-fold.
        phases: Emitted, contiguous, in order; the last one is open.
        t_mem: First record from which the training set was fitted.
        t_gen: First record from which held-out data was solved.
        accurate: Whether held-out accuracy is at least .95, by the number itself.
        grokking_step: First of three held-out evaluations of at least .95, None before that.
        between: Evaluations between the two so far.
        unfit_between: Those of them at which the train curve was lost.
    """

    observed: RunSeries
    streaks: dict[str, Streak] = field(default_factory=lambda: {name: Streak() for name in CONDITIONS})
    judged: dict[str, tuple[Comparison, ...]] = field(default_factory=dict)
    at_fit: AtFit | None = None
    best: Best = field(default_factory=Best)
    settled_peak: float = math.inf
    steepest: float = 0.0
    phases: list[Phase] = field(default_factory=list)
    t_mem: Milestone | None = None
    t_gen: Milestone | None = None
    accurate: Streak = field(default_factory=Streak)
    grokking_step: int | None = None
    between: int = 0
    unfit_between: int = 0

    def __getitem__(self, name: str) -> Streak:
        return self.streaks[name]

    def on(self, name: str) -> bool:
        """Whether a condition counts now."""
        return self.streaks[name].on

    @property
    def was_fitted(self) -> bool:
        """Whether the training set was fitted at any time."""
        return self["fitted"].first_since is not None

    @property
    def unknown_at_fit(self) -> Comparison | None:
        """How little was known of held-out data at the fit; None before that can be told."""
        fit, facts = self.at_fit, self.observed.facts
        if fit is None or fit.outcome is None or not self.was_fitted:
            return None
        limit = limits.MEMORIZED * fit.null
        if not fit.is_error:
            return Comparison(
                f"{facts.loss_words} at the fit", fit.outcome, ">=", limit, fit.step, limit_is="half of the null's"
            )
        words = f"{facts.accuracy_words} at the fit"
        half_way = "half way from a constant answer to no error"
        return Comparison(words, 1 - fit.outcome, "<=", 1 - limit, fit.step, facts.heldout_examples, half_way)

    @property
    def memorized(self) -> bool:
        """Whether held-out data was unknown when the training set was fitted, and had not been lost before."""
        found = self.unknown_at_fit
        return found is not None and found.holds and self.at_fit is not None and not self.at_fit.risen

    @property
    def lost_by(self) -> tuple[str, ...]:
        """Conditions that make a collapse: train and held-out data are both lost; or accuracy on held-out data once solved.

        A held-out loss that is lost alone is no collapse: it may rise while answers stay right.
        """
        solved = self.t_gen is not None and bool(self.observed["heldout_error"])
        return ("lost",) if solved else ("lost", "unlearned")

    @property
    def lost_to_the_end(self) -> bool:
        """Whether all of those held at each of the latest three evaluations."""
        return all(self[name].at_the_end for name in self.lost_by)

    @property
    def risen_to_the_end(self) -> bool:
        """Whether the held-out loss has been up for three records, or for half of them if there are not even six."""
        return self["risen"].hits >= min(ENTER, max(1, self.observed["heldout_loss"].count // 2))

    def clauses(self, *names: str) -> tuple[Clause, ...]:
        """The latest comparisons of some conditions, in plain values."""
        return tuple(comparison.clause(name) for name in names for comparison in self.judged.get(name, ()))
