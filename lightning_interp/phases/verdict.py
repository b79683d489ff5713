# SPDX-License-Identifier: Apache-2.0
"""The verdict on a whole history: the first of an ordered list of rules that holds, and what it means in words."""

from lightning_interp.phases.boundaries import crossing
from lightning_interp.phases.rules import GENERALIZED_ACCURACY, GENERALIZED_LOSS, Rules
from lightning_interp.phases.run_series import RunSeries
from lightning_interp.phases.state_machine import fit_boundary

MIN_POINTS = 10

SENTENCES = {
    "diverged": "Training diverged: the loss at the end is not finite, or over twice its start.",
    "not_fitted": "The training set was never fitted (train accuracy under .99, or loss over .05 nats).",
    "collapse": "The network generalized and then lost it.",
    "early_generalization": "The network generalized about when it fitted the training set: learning without grokking.",
    "grokking": "The network memorized first and generalized much later: grokking.",
    "partial_generalization": "The held-out loss is well below its peak, but the network does not generalize fully (yet).",
    "memorization_only": "The network fitted the training set and does not generalize (yet).",
    "unknown": "The history does not say enough for a verdict.",
}
"""One sentence for each verdict."""


class Milestones:
    """Steps at which the run as a whole turned, each fixed once it is known.

    Attributes:
        t_mem: First record from which the training set was fitted, in optimizer steps.
        t_gen: First record from which the held-out set was solved.
        grokking_step: `t_gen` where it was found by accuracy.
    """

    def __init__(self) -> None:
        self.t_mem: int | None = None
        self.t_gen: int | None = None
        self.grokking_step: int | None = None

    def update(self, observed: RunSeries, rules: Rules) -> None:
        """Fix what has become known at the latest evaluation."""
        if self.t_mem is None and rules.on("fitted"):
            self.t_mem = fit_boundary(observed).step
        if self.t_gen is None and rules.on("generalized"):
            self.t_gen = self._generalized(observed)
            self.grokking_step = self.t_gen if observed["heldout_accuracy"] else None

    def _generalized(self, observed: RunSeries) -> int:
        start = observed.clock.first or 0
        if observed["heldout_accuracy"]:
            return crossing(observed["heldout_error"], 1 - GENERALIZED_ACCURACY + 1e-9, start).step
        return crossing(observed["heldout_loss"], GENERALIZED_LOSS, start).step


def verdict(observed: RunSeries, rules: Rules, milestones: Milestones) -> str:
    """The verdict on everything seen so far, one of `VERDICTS`; rules and milestones are up to date."""
    if observed.nonfinite or rules["diverging"].at_the_end:
        return "diverged"
    if observed.points < MIN_POINTS or not observed.train:
        return "unknown"
    if rules["fitted"].first_since is None:
        return "not_fitted"
    if not observed.heldout:
        return "unknown"
    if rules["collapsed"].at_the_end:
        return "collapse"
    if _early(observed, milestones):
        return "early_generalization"
    if rules["grokked"].first_since is not None and _was_late(observed, milestones):
        return "grokking"
    return "partial_generalization" if _partial(observed, rules) else "memorization_only"


def _early(observed: RunSeries, milestones: Milestones) -> bool:
    mem, gen, origin = milestones.t_mem, milestones.t_gen, observed.clock.origin
    if mem is None or gen is None:
        return False
    return gen <= mem or gen - origin < 2 * (mem - origin)


def _was_late(observed: RunSeries, milestones: Milestones) -> bool:
    """Whether the held-out set was still unsolved when the training set was fitted.

    With accuracies `_early` has settled that. Losses alone under chance say it only if they were over chance after the fit.
    """
    solved = milestones.t_gen is not None
    return solved or not observed.knows_chance or observed.heldout.marked_peak >= observed.chance()[0]


def _partial(observed: RunSeries, rules: Rules) -> bool:
    """Held-out curve 10 % off its peak at the end; percentile and accuracy, where logged, must agree.

    A shrinking weight norm alone lowers the loss of wrong, overconfident answers, on random labels too.
    """
    if not rules["far_off_peak"].at_the_end:
        return False
    if observed["heldout_percentile_z"]:
        return rules["percentile"].at_the_end
    accuracy = observed["heldout_accuracy"]
    if not accuracy:
        return True
    floor = 1 / observed.n_classes if observed.n_classes else accuracy.first
    return accuracy.recent > 1.5 * floor
