# SPDX-License-Identifier: Apache-2.0
"""The conditions that decide phases and verdicts: each compares numbers with limits of `limits`. No order among them."""

import math
from statistics import median

from lightning_interp.phases import limits
from lightning_interp.phases.comparison import Comparison, Relation
from lightning_interp.phases.run_state import AtFit, RunState
from lightning_interp.phases.series import LogSeries

WORDS = {
    "train_loss": "train loss",
    "heldout_loss": "held-out loss",
    "train_error": "train accuracy",
    "heldout_error": "held-out accuracy",
}


def judge(state: RunState, step: int) -> None:
    """Judge every condition at the latest evaluation of the series it needs."""
    observed = state.observed
    if observed.train or observed.heldout:
        _judge_fall(state, step)
    _judge_support(state, step)
    if not observed.has_shares:
        return
    if observed["heldout_loss"] and observed.train:
        _judge_rise(state, step)
    if observed.fit:
        _judge_fit(state, step)
    if observed.outcome:
        _observe_fit(state)
        _judge_outcome(state, step)
    if observed.heldout:
        _judge_heldout(state, step)


def compared(
    state: RunState,
    series: LogSeries,
    relation: Relation,
    limit: float,
    step: int,
    limit_is: str = "",
    *,
    value: float | None = None,
) -> Comparison:
    """A level of a series against a limit; of an error as the accuracy people know, with its examples if they are known."""
    observed = state.observed
    number, name = series.level if value is None else value, _name(state, series)
    words = _words(state, name)
    if not observed.is_error(series):
        return Comparison(words, number, relation, limit, step, limit_is=limit_is)
    examples = observed.facts.heldout_examples if name == "heldout_error" else None
    turned: Relation = "<=" if relation == ">=" else ">="
    return Comparison(words, 1 - number, turned, 1 - limit, step, examples, limit_is)


def _words(state: RunState, name: str) -> str:
    """What a series is called; an outcome of the user's by its own name."""
    facts = state.observed.facts
    return {"heldout_loss": facts.loss_words, "heldout_error": facts.accuracy_words}.get(name, WORDS[name])


def _name(state: RunState, series: LogSeries) -> str:
    return next(name for name in WORDS if state.observed[name] is series)


def _set(state: RunState, name: str, step: int, series: LogSeries, *comparisons: Comparison) -> None:
    """Count one evaluation of a condition: it holds if all of its comparisons do, and not if there is nothing to compare."""
    known = all(math.isfinite(each.value) and math.isfinite(each.limit) for each in comparisons)
    state.judged[name] = comparisons if known else ()
    hit = known and bool(comparisons) and all(each.holds for each in comparisons)
    state[name].update(hit, step, series.count)


def _judge_fall(state: RunState, step: int) -> None:
    curve = state.observed.train or state.observed.heldout
    relative_noise = curve.noise() / max(abs(curve.peak), 1e-12)
    limit = curve.peak - max(limits.FALLING, 3 * relative_noise) * abs(curve.peak)
    _set(state, "fitting", step, curve, compared(state, curve, "<=", limit, step, "a tenth and its noise under its peak"))


def _judge_rise(state: RunState, step: int) -> None:
    observed, best = state.observed, state.best
    loss, train = observed["heldout_loss"], observed.train
    if loss.recent < best.heldout_loss:
        best.heldout_loss, best.heldout_step = loss.recent, step
        best.train_then = train.recent
        best.error_then = observed["heldout_error"].recent if observed["heldout_error"] else math.inf
    _set(state, "risen", step, loss, *rise(state, step))


def rise(state: RunState, step: int, *, for_certain: bool = False) -> tuple[Comparison, ...]:
    """What must hold for the held-out loss to have risen from its least while the train curve fell."""
    observed, best = state.observed, state.best
    loss, train, null = observed["heldout_loss"], observed.train, observed.null(observed["heldout_loss"]).value
    least = best.heldout_loss
    risen = least + max((limits.RISE - 1) * least + limits.RISE_FLOOR * null, limits.RISE_NOISE * loss.noise())
    return (
        compared(state, loss, ">=", risen, step, f"risen from its least, {least:.3g} at step {best.heldout_step:,}"),
        _learned_at_least(state, for_certain=for_certain),
        compared(
            state, train, "<=", math.nextafter(best.train_then, -math.inf), step, "what it was then", value=train.recent
        ),
    )


def _learned_at_least(state: RunState, *, for_certain: bool) -> Comparison:
    """Whether the network had learned where its held-out loss was least: by accuracy, or without it by that loss."""
    observed, best = state.observed, state.best
    error, loss = observed["heldout_error"], observed["heldout_loss"]
    if error:
        limit = limits.LEARNED * observed.null(error).value
        words = f"{limits.LEARNED} of a constant answer's error, where the loss was least"
        return compared(state, error, "<=", limit, best.heldout_step, words, value=best.error_then)
    null = observed.null(loss)
    begun = (loss.steps[0] > 0 or observed.by_epochs) and not null.known
    if begun and not for_certain and best.train_then <= limits.KNEW * best.heldout_loss:
        # no record of an untrained network is there to compare with, but the train loss was far under it already
        half = limits.KNEW * best.heldout_loss
        return Comparison("train loss then", best.train_then, "<=", half, best.heldout_step, limit_is="half of that")
    share = limits.LEARNED if for_certain or observed.facts.null_loss is None else limits.LEARNED_KNOWN
    words = f"{share:g} of the null's"
    return Comparison(
        f"least {observed.facts.loss_words}", best.heldout_loss, "<=", share * null.value, best.heldout_step, limit_is=words
    )


def _judge_fit(state: RunState, step: int) -> None:
    observed, best = state.observed, state.best
    train, null = observed.fit, observed.null(observed.fit)
    _see_fit(state, step)
    words = "what counts as fitted" if observed.is_error(train) else f"fitted, a share of the null's loss {null.value:.3g}"
    limit = observed.fit_limit(train)
    level = max(train.level, _wavering(train, limit) / limits.NOISY_FIT_TIMES)
    _set(state, "fitted", step, train, compared(state, train, "<=", limit, step, words, value=level))
    best.fit = min(best.fit, max(value for _, value in train.tail[-3:]))
    back = max(limits.UNFITTED * null.value, limits.UNFITTED_TIMES * best.fit)
    _set(
        state,
        "unlearned",
        step,
        train,
        compared(state, train, ">=", back, step, "a fifth of the null's and twice its best"),
        compared(state, train, "<=", limits.KNEW * null.value, step, "half of the null's, at its best", value=best.fit),
    )
    if loss := observed["train_loss"]:
        start = observed.null(loss)
        times = limits.DIVERGED if start.known else limits.DIVERGED_ESTIMATED
        limit = times * max(loss.first, start.value)
        words = f"{times:g} times its start and the null's"
        _set(state, "diverging", step, loss, compared(state, loss, ">=", limit, step, words, value=loss.recent))


def _wavering(train: LogSeries, limit: float) -> float:
    """Mean of the latest records of a train curve that wavers about its limit; 0 of one that does not."""
    latest = [value for _, value in train.tail[-limits.NOISY_FIT :]]
    before = latest[: -limits.NOISY_FIT_NEW]
    if not before or train.noise() <= limit or median(before) > limits.NOISY_FIT_NEAR * limit:
        return 0.0
    return sum(latest) / len(latest)


def _see_fit(state: RunState, step: int) -> None:
    """Note where a fit came in sight: fitted by accuracy, or a loss of a tenth of the null's, at which a fit is dated."""
    observed, train = state.observed, state.observed.fit
    limit = observed.fit_limit(train)
    if not observed.is_error(train):
        limit = max(limit, limits.DATED_LOSS * observed.null(train).value)
    if state.was_fitted:
        return
    if train.level > limit:
        state.at_fit = None
    elif state.at_fit is None:
        state.at_fit = AtFit(step)
        _forget_extremes(state)


def _forget_extremes(state: RunState) -> None:
    """Peaks and least levels are those since the fit."""
    for name in ("heldout_loss", "heldout_error", "excluded_loss", "excluded_loss_max"):
        series = state.observed[name]
        series.mark()
        if series:
            series.ema_peak, series.marked_peak, series.low = series.ema, series.recent, series.recent


def _observe_fit(state: RunState) -> None:
    """Held-out data at the fit: the first record from the one on at which the fit is seen.

    So a coarse grid cannot make late out of early.
    """
    fit, observed, outcome = state.at_fit, state.observed, state.observed.outcome
    if fit is None or fit.outcome is not None or outcome.tail[-1][0] < fit.step:
        return
    fit.outcome, fit.null = outcome.level, observed.null(outcome).value
    fit.is_error = observed.is_error(outcome)
    fit.percentile_z = observed["heldout_percentile_z"].level if observed["heldout_percentile_z"] else 0.0
    if observed["heldout_loss"]:
        fit.risen = (fit.share <= limits.LEARNED or not fit.is_error) and all(
            each.holds for each in rise(state, fit.step, for_certain=True)
        )


def _judge_outcome(state: RunState, step: int) -> None:
    observed, best, outcome = state.observed, state.best, state.observed.outcome
    null, error = observed.null(outcome).value, observed.is_error(outcome)
    learned = compared(state, outcome, "<=", limits.LEARNED * null, step, f"{limits.LEARNED} of a constant answer's")
    _set(state, "learned", step, outcome, learned)
    solved = compared(state, outcome, "<=", observed.solved_limit(outcome), step, "what counts as solved")
    _set(state, "generalized", step, outcome, solved)
    if state.at_fit is not None and state.at_fit.outcome is not None:
        gain = max(limits.IMPROVED * null, limits.IMPROVED / 2) if error else limits.IMPROVED * null
        limit = min(state.at_fit.outcome - gain, null)
        words = f"better than at the fit, {_shown(state, state.at_fit.outcome)}, and than a constant answer"
        _set(state, "improved", step, outcome, compared(state, outcome, "<=", limit, step, words))
    if outcome.count >= 3 and (worst := max(value for _, value in outcome.tail[-3:])) < best.outcome:
        best.outcome, best.outcome_step = worst, step
    if best.outcome <= limits.KNEW * null:
        worse = best.outcome + limits.LOST_ERROR if error else max(limits.LOST_LOSS * null, limits.LOST_TIMES * best.outcome)
        words = f"lost, after {_shown(state, best.outcome)} by step {best.outcome_step:,}"
        _set(state, "lost", step, outcome, compared(state, outcome, ">=", worse, step, words))


def _shown(state: RunState, level: float) -> str:
    return f"{1 - level if state.observed['heldout_error'] else level:.3g}"


def _judge_heldout(state: RunState, step: int) -> None:
    heldout = state.observed.heldout
    null = state.observed.null(heldout).value
    # noise as a share of the peak: as one of the recent value it has no bound once a loss falls to nothing
    peak = heldout.ema_peak
    noise = heldout.noise() / max(abs(peak), 1e-12)
    off = max(limits.OFF_PEAK, min(limits.OFF_PEAK_MOST, limits.OFF_PEAK_NOISE * heldout.ema_noise * noise))
    _set(state, "off_peak", step, heldout, _averaged(state, "<=", peak - off * abs(peak), step, f"its peak, {peak:.3g}"))
    again = state.settled_peak + off * abs(state.settled_peak)  # infinite before circuit formation
    _set(state, "new_peak", step, heldout, _averaged(state, ">=", again, step, "the peak it had come off"))
    # the null of an error may only be estimated, and its first crumbs mean nothing
    limit = limits.LEARNED * null if state.observed.is_error(heldout) else math.nextafter(null, -math.inf)
    _set(state, "under_null", step, heldout, compared(state, heldout, "<=", limit, step, "under a constant answer's"))
    _set(state, "flat", step, heldout, *_flatness(state, step))


def _averaged(state: RunState, relation: Relation, limit: float, step: int, words: str) -> Comparison:
    heldout = state.observed.heldout
    name = f"averaged {'held-out error' if state.observed.is_error(heldout) else state.observed.facts.loss_words}"
    return Comparison(name, heldout.ema, relation, limit, step, limit_is=words)


def _flatness(state: RunState, step: int) -> tuple[Comparison, ...]:
    """No held-out curve moves by 5 % of itself, or of half its scale if it lies under that, per e-fold; nor the norm."""
    observed, found = state.observed, []
    for name in ("heldout_loss", "heldout_error"):
        if series := observed[name]:
            slope = series.slope(observed.clock)
            if slope is None:
                return ()
            limit = limits.FLAT * max(series.recent, limits.FLAT_FLOOR * observed.scale(series))
            words = f"change of {_words(state, name)} per e-fold"
            found.append(Comparison(words, abs(slope), "<=", limit, step))
    norm = observed["weight_norm"]
    drift = norm.slope(observed.clock, log=True) if norm else None
    if drift is not None:
        share = limits.FLAT_NORM_OF_STEEPEST * state.steepest
        limit = max(limits.FLAT_NORM, share, min(2 * norm.slope_error(observed.clock), 2 * share))
        found.append(Comparison("change of the log weight norm per e-fold", abs(drift), "<=", limit, step))
    return tuple(found)


def _judge_support(state: RunState, step: int) -> None:
    observed, clock = state.observed, state.observed.clock
    if z := observed["heldout_percentile_z"]:
        least = math.nextafter(limits.PERCENTILE, math.inf)
        slope = z.slope(clock)
        falls = 0.0 if slope is None else -slope
        _set(
            state,
            "percentile",
            step,
            z,
            Comparison("z of the held-out percentile", z.level, ">=", least, step, limit_is="deviations of its null"),
            Comparison("its fall per e-fold", falls, "<=", limits.PERCENTILE_FALL * z.level, step, limit_is="a tenth of it"),
        )
    _judge_excluded(state, step)
    for name, words, sign in (("effective_rank", "fall", -1), ("gini_embedding", "rise", 1), ("gini_readout", "rise", 1)):
        condition = "rank_falling" if sign < 0 else "gini_rising"
        series = observed[name]
        if series and not (name == "gini_readout" and observed["gini_embedding"]):
            slope = sign * (series.slope(clock, log=True) or 0.0)
            _set(
                state,
                condition,
                step,
                series,
                Comparison(f"{words} of the log {name} per e-fold", slope, ">=", limits.FLAT, step),
            )
    if norm := observed["weight_norm"]:
        state.steepest = max(state.steepest, -(norm.slope(clock, log=True) or 0.0))


def _judge_excluded(state: RunState, step: int) -> None:
    together, largest = state.observed["excluded_loss"], state.observed["excluded_loss_max"]
    single = largest or together
    for name, series, times, words in (
        ("excluded", single, limits.EXCLUDED, "largest excluded loss" if largest else "excluded loss"),
        ("excluded_turned", together, limits.TURNED, "excluded loss"),
    ):
        if series:
            least = f"{times:g} times its least since the fit"
            _set(state, name, step, series, Comparison(words, series.level, ">=", times * series.low, step, limit_is=least))
