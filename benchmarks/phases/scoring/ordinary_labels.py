# SPDX-License-Identifier: Apache-2.0
"""Which verdicts are right for an ordinary training, from its recorded metrics and what is known of its data.

Nothing here is causal, nothing comes from a detector, a name or a configuration. Curves are running medians of three
records; levels are shares of what the best constant answer gets on the held-out examples, which is known exactly. Where two
words are true of a run, both are right:

- a network that reached 95 % and whose loss rose all the same generalized early *and* overfits;
- one that generalizes while its training set is not fitted (augmentation, dropout, label noise) is both of these;
- one that learned a seventh to a third of the way from the constant answer learned in part, or hardly: memorization;
- one that half generalized late, after a fit at chance, grokked as far as it did: partial generalization or grokking;
- what generalized at 1.5 to 2.5 times the step of its fit is late as well as early;
- a loss that rose by less than the factor of `Thresholds.rise` overfits, and is what it would be without that;
- a fit that slipped to a fifth of the constant answer is one and is none.

From losses alone right is what losses can tell: overfitting where the loss rose though accuracy did not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scoring.labels import SUSTAINED, Series, first_run

View = Literal["accuracies", "losses"]
VIEWS: tuple[View, ...] = ("accuracies", "losses")


@dataclass(frozen=True)
class Thresholds:
    """What a label turns on; `MOVED` moves one at a time.

    Attributes:
        fitted: Train accuracy; as a loss five times what it leaves, in units of the constant answer (.99: .05).
        solved: Held-out accuracy; as a loss twice what it leaves (.95: .1).
        at_fit: Share of the constant answer's error (or loss) that is left at the fit from which generalization is late.
        rise: Held-out loss at the end over its least from which it is overfitting without a doubt.
    """

    fitted: float = 0.99
    solved: float = 0.95
    at_fit: float = 0.5
    rise: float = 2.0


STANDARD = Thresholds()
MOVED = tuple(
    replace(STANDARD, **{name: value})
    for name, values in {
        "fitted": (0.97, 0.995),
        "solved": (0.9, 0.98),
        "at_fit": (0.4, 0.6),
        "rise": (1.5, 3.0),
    }.items()
    for value in values
)
LEARNED, HARDLY = 0.7, 0.9
"""Shares of the constant answer: under the first something was learned, over the second nothing was, between them both."""
LATE, SURELY_EARLY, SURELY_LATE = 2.0, 1.5, 2.5
MILD_RISE, MILD_SHARE, CLEAR_SHARE = 1.1, 0.005, 0.05
"""Factor, and share of the constant answer's loss, from which a rise can be called one; the share of one without a doubt."""
HALF, LOST_ERROR, UNFITTED = 0.5, 0.2, 0.2
IMPROVED = 0.1
"""Share of the constant answer by which the held-out curve must fall after the fit, and to under it, if anything formed."""
KEPT = 1.5
"""A loss that came to the level of solved and ends within this factor of it was solved as well as not."""
RARE, FITTED_RARE, SOLVED_RARE = 0.1, 0.1, 0.5
"""Where the constant answer errs less often, a tenth and a half of its errors may also count as fitted and as solved."""
FEW, SOLVED_FEW = 60, 0.2
"""With fewer held-out examples an accuracy of .95 cannot be told from .8, nor from one that is not enough."""
SHORTEST = 10
"""Records below which nothing can be said."""


@dataclass(frozen=True)
class OrdinaryLabel:
    """What is right to say of a run.

    Attributes:
        right: Verdicts, one or more.
        late: Whether it fitted at chance and generalized later: an early warning is due.
        forming: Whether its held-out curve fell after a fit at chance: a warning is no false alarm.
        t_fit: First of three records at which the training set is fitted, or None if there is none.
        t_gen: First of three records at which held-out examples are solved.
        borderline: Whether a moved threshold makes one of them wrong.
    """

    right: frozenset[str]
    late: bool
    forming: bool
    t_fit: int | None
    t_gen: int | None
    borderline: bool = False


@dataclass(frozen=True)
class Course:
    """Smoothed curves of a run, in units of the constant answer.

    Attributes:
        step: Optimizer steps.
        train_loss: In units of the constant answer's loss.
        heldout_loss: The same.
        train: What fitting is judged by, as a share of the constant answer: error, or loss.
        heldout: What success is judged by, in the same way.
        fitted: Level of `train` that counts as fitted.
        solved: Level of `heldout` that counts as solved.
        by_loss: Whether both are losses.
        lost: How far over its best `heldout` is lost, at least.
    """

    step: Series
    train_loss: Series
    heldout_loss: Series
    train: Series
    heldout: Series
    fitted: float
    solved: float
    by_loss: bool = True
    lost: float = HALF


def ordinary_label(metrics: Mapping[str, Series], facts: Mapping[str, Any], *, view: View) -> OrdinaryLabel:
    """The label of one run, and whether it hangs on a threshold.

    Args:
        metrics: Its columns, NaN if there is no value.
        facts: ``null_loss``, ``null_error`` (None where answers are no classes), ``heldout_examples``, ``learnable`` and
            ``switched``: whether the task became another on the way.
        view: What the verdict to be judged is made from. Without accuracies on record both are the same.
    """
    found = label_with(metrics, facts, view=view, at=STANDARD)
    moved = (label_with(metrics, facts, view=view, at=thresholds) for thresholds in MOVED)
    return replace(found, borderline=any(not found.right <= each.right for each in moved))


def label_with(metrics: Mapping[str, Series], facts: Mapping[str, Any], *, view: View, at: Thresholds) -> OrdinaryLabel:
    """The label under given thresholds."""
    train, null = metrics["train_loss"], facts["null_loss"]
    if len(train) < SHORTEST:
        return _of(frozenset({"unknown"}))
    if not np.isfinite(train[-1]):
        return _of(frozenset({"diverged"}))
    course, *others = _courses(metrics, facts, view, at)
    blown = np.median(train[-SUSTAINED:]) > 2 * max(train[0], null) and not facts["switched"]
    odd = ({"collapse"} if _collapsed(course) else set()) | ({"diverged"} if blown else set())
    if odd:
        return _of(frozenset(odd))
    learnable = bool(facts["learnable"])
    found = [_right(each, at, learnable=learnable) for each in (course, *others)]
    fit, gen = _first(course.train <= course.fitted), _first(course.heldout <= course.solved)
    behind = fit is not None and course.heldout[fit] >= at.at_fit
    after = course.heldout[fit:].min() if behind else np.inf
    forming = behind and learnable and after <= min(HARDLY, course.heldout[fit] - IMPROVED)
    return OrdinaryLabel(
        right=frozenset().union(*found),
        late=behind and gen is not None and "grokking" in found[0],
        forming=bool(forming),
        t_fit=None if fit is None else int(course.step[fit]),
        t_gen=None if gen is None else int(course.step[gen]),
    )


def _of(right: frozenset[str]) -> OrdinaryLabel:
    return OrdinaryLabel(right, late=False, forming=False, t_fit=None, t_gen=None)


def _courses(metrics: Mapping[str, Series], facts: Mapping[str, Any], view: View, at: Thresholds) -> list[Course]:
    """Curves and levels; several sets of levels where the data cannot tell them apart: the words of all are right."""
    null_loss, null_error = facts["null_loss"], facts["null_error"]
    losses = [smoothed(metrics[name]) / null_loss for name in ("train_loss", "heldout_loss")]
    course = Course(metrics["step"], *losses, *losses, fitted=5 * (1 - at.fitted), solved=2 * (1 - at.solved))
    if view == "losses" or null_error is None or not _logged(metrics):
        return [course]
    train, heldout = (smoothed(1 - metrics[name]) / null_error for name in ("train_accuracy", "heldout_accuracy"))
    skew = min(1.0, 2 * null_error) / null_error  # at 99:1 the constant answer itself has an accuracy of .99
    limits = {"fitted": (1 - at.fitted) * skew, "solved": (1 - at.solved) * skew, "lost": LOST_ERROR / null_error}
    course = replace(course, train=train, heldout=heldout, by_loss=False, **limits)
    found = [course]
    if null_error < RARE:
        found.append(replace(course, fitted=FITTED_RARE, solved=SOLVED_RARE))
    if facts["heldout_examples"] < FEW:
        found += [replace(course, solved=level) for level in (SOLVED_FEW / null_error, -1.0)]
    return found


def _logged(metrics: Mapping[str, Series]) -> bool:
    return all(name in metrics and np.isfinite(metrics[name]).all() for name in ("train_accuracy", "heldout_accuracy"))


def _collapsed(course: Course) -> bool:
    """Both sides had been learned and both were lost."""
    best_train, best = course.train.min(), course.heldout.min()
    unlearned = best_train <= HALF and course.train[-1] > max(UNFITTED, 2 * best_train)
    over = max(HALF, 2 * best) if course.by_loss else best + course.lost
    return bool(unlearned and best <= HALF and course.heldout[-1] > over)


def _right(course: Course, at: Thresholds, *, learnable: bool) -> set[str]:
    fit, gen = _first(course.train <= course.fitted), _first(course.heldout <= course.solved)
    end, risen, words = course.heldout[-1], _risen(course, at.rise), set[str]()
    solved = gen is not None and end <= course.solved
    kept = end <= KEPT * course.solved if course.by_loss else end - course.heldout.min() < course.lost
    if gen is not None and kept:
        words |= _generalized(course, fit, gen, at) | ({"not_fitted"} if False in _fitted(course, fit) else set())
    if not solved and risen == "clearly":
        words |= {"overfitting"} | ({"not_fitted"} if False in _fitted(course, fit) else set())
        if not course.by_loss and end > LEARNED and fit is not None:
            words.add("memorization_only")  # the loss rose, and by now the answers are hardly better than a constant's
    elif not solved:
        words |= _unsolved(course, fit, at, learnable=learnable)
    return words | ({"overfitting"} if risen != "no" else set())


def _fitted(course: Course, fit: int | None) -> set[bool]:
    """Whether the training set is fitted in the end; both where a fit slipped without being lost."""
    end = course.train[-1]
    if fit is None or end > max(UNFITTED, 2 * course.fitted):
        return {False}
    return {True} if end <= 2 * course.fitted else {True, False}


def _generalized(course: Course, fit: int | None, gen: int, at: Thresholds) -> set[str]:
    """Late if the held-out side was near the constant answer at the fit and was solved at twice its step or later."""
    if fit is None or gen <= fit:
        return {"early_generalization"}
    ratio = course.step[gen] / max(course.step[fit], 1)
    behind, before = (course.heldout[at_record] >= at.at_fit for at_record in (fit, max(fit - 1, 0)))
    if not behind and not before:
        return {"early_generalization"}
    if behind != before or SURELY_EARLY < ratio < SURELY_LATE:  # the fit lies between two records
        return {"early_generalization", "grokking"} if ratio > SURELY_EARLY else {"early_generalization"}
    return {"grokking"} if ratio >= LATE else {"early_generalization"}


def _unsolved(course: Course, fit: int | None, at: Thresholds, *, learnable: bool) -> set[str]:
    """How much was learned of what can be."""
    end, words, fitted = course.heldout[-1], set[str](), _fitted(course, fit)
    if False in fitted:
        words.add("not_fitted")
    if True not in fitted or fit is None:
        return words
    if learnable and end < HARDLY:
        words.add("partial_generalization")
        if course.heldout[fit] >= at.at_fit and end <= HALF * course.heldout[fit]:
            words.add("grokking")
    if not learnable or end > LEARNED:
        words.add("memorization_only")
    return words


def _risen(course: Course, clearly: float) -> Literal["no", "mildly", "clearly"]:
    """Whether the held-out loss came back up from a least under the constant answer's, while the train loss fell."""
    loss = course.heldout_loss
    least = int(np.argmin(loss))
    up = loss[-1] - loss[least]
    if loss[least] > HARDLY or course.train_loss[-1] >= course.train_loss[least]:
        return "no"
    if loss[least] <= LEARNED and loss[-1] >= clearly * loss[least] and up >= CLEAR_SHARE:
        return "clearly"
    return "mildly" if loss[-1] >= MILD_RISE * loss[least] and up >= MILD_SHARE else "no"


def smoothed(values: Series) -> Series:
    """Running median of three; the last is the median of the last three. A gap takes the value before it."""
    known = np.isfinite(values)
    if not known.any():
        return np.full_like(values, np.nan)
    filled = np.interp(np.arange(len(values)), np.flatnonzero(known), values[known])
    middle = np.median(np.lib.stride_tricks.sliding_window_view(filled, SUSTAINED), axis=1)
    return np.concatenate([filled[:1], middle, middle[-1:]])


def _first(holds: NDArray[np.bool_]) -> int | None:
    return first_run(holds, SUSTAINED)
