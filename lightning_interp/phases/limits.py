# SPDX-License-Identifier: Apache-2.0
"""Every number that a rule of phases rests on, with its reason.

None has a unit: all are shares of what a predictor that ignores its input gets (the *null*), ratios, or shares of accuracy;
so no verdict depends on the scale of a loss or of a target.
"""

FITTED_ERROR, FITTED_ERROR_OF_NULL = 0.01, 0.1
"""Train error at which a training set is fitted: 1 %, and no more than a tenth of the null's, which 99:1 has at 1 %."""
FITTED_LOSS = 0.05
"""The same as a share of the null's loss, if no accuracy is logged: an R² of .95."""
DATED_LOSS, DATED_FROM = 0.1, 0.2
"""Shares of the null's loss at which such a fit is dated, and from which on it can have come about."""
SOLVED_ERROR, SOLVED_ERROR_OF_NULL, SOLVED_LOSS = 0.05, 0.5, 0.1
"""Held-out error (at most half of the null's), or share of the null's loss, at which held-out data is solved."""
ACCURATE = 0.95
"""Held-out accuracy of the grokking step that loggers get, whatever the null and the number of examples."""
HELD = 2.0
"""Times that limit at the end of a history up to which it still counts as solved: runs stand near it and waver."""
LEARNED = 0.8
"""Share of the null under which something was learned. Wide initial weights alone give .85 of a first record on noise."""
LEARNED_KNOWN = 0.9
"""The same of a least held-out loss that has risen since, if the null is given; and of what an early warning leaves out."""
MEMORIZED = 0.5
"""Share of the null over which held-out data was unknown at the fit. Groks lie over .7, ordinary digits under .06."""
LATE, LATE_RECORDS = 2.0, 2
"""Times the step of the fit from which on generalization comes late, with so many unsolved records in between."""
REFITTED = 0.5
"""Share of the evaluations between fit and solution at which the train curve was lost: then something else was fitted."""
IMPROVED = 0.1
"""Share of the null by which held-out data must be better than at the fit; of accuracy, at least half of that."""
RISE, RISE_FLOOR, RISE_NOISE = 1.2, 0.01, 4.0
"""Times its least that a held-out loss has risen; a share of the null more, since slingshots of a solved network are none;
and by so many deviations of its noise, since the least of a noisy curve lies low by chance."""
UNFITTED, UNFITTED_TIMES = 0.2, 2.0
"""Share of the null, and times its own best, over which a train curve that was under `KNEW` has been lost."""
KNEW = 0.5
"""Share of the null that a curve must have been under, to be lost later."""
LOST_ERROR, LOST_LOSS, LOST_TIMES = 0.2, 0.5, 2.0
"""Held-out error over its best; or share of the null's loss, and times its own best."""
DIVERGED, DIVERGED_ESTIMATED = 2.0, 10.0
"""Times its start, or the null, at which a train loss that ends there has diverged; more if the null is only estimated by
the start, since an annealed loss rises too."""

NOISY_FIT, NOISY_FIT_NEW, NOISY_FIT_NEAR, NOISY_FIT_TIMES = 10, 3, 10.0, 2.0
"""A train curve with noise over its limit whose latest 10 records but 3 were within 10 times that limit wavers about it:
their mean must be within twice the limit. The accuracy of a batch of 32 is 1 every other time at .98."""
FALLING = 0.1
"""Share of its peak that a curve must have fallen."""
BEGINS_TO_FALL = 0.05
"""Share of its peak at which that fall is dated."""
OFF_PEAK, OFF_PEAK_NOISE, OFF_PEAK_MOST = 0.02, 6.0, 0.5
"""Share of its peak, deviations of its noise (as a share of the peak, at most so much) that an averaged curve is off it."""
PERCENTILE, PERCENTILE_FALL = 4.0, 0.1
"""Deviations of its null, and the share of itself it may fall by per e-fold."""
EXCLUDED, TURNED = 3.0, 1.1
"""Times its least since the fit: the largest excluded loss of one frequency, and that of all together."""
FLAT, FLAT_FLOOR = 0.05, 0.5
"""Change per e-fold of steps of a flat curve, as a share of itself or of so much of its scale."""
FLAT_NORM, FLAT_NORM_OF_STEEPEST = 0.15, 0.15
"""Change per e-fold of the log weight norm, or share of its steepest fall, at which the norm is at rest."""
SETTLED_LOSS, SETTLED_ERROR, SETTLED_NORM = 0.005, 0.02, 0.02
"""Distance from its level now within which a curve has settled: a share of its scale, of the null error, of itself."""
