# SPDX-License-Identifier: Apache-2.0
"""Causal log-time series: evaluations that do not depend on the logging cadence, medians, averages and slopes.

Time is ln(steps since the origin + 1). The raw points of a series are gathered into *evaluations*, never closer than
1/100 of an e-fold, each the median of the raw points it gathers; the last 50 evaluations are kept, older ones are thinned
to 25 per e-fold. Rules count evaluations; boundaries are looked up in the raw points.
"""

import math
from collections.abc import Sequence
from statistics import median

EVALUATIONS_PER_EFOLD = 100
KEPT_PER_EFOLD = 25
TAIL = 50
EMA_HALF_LIFE = 5
"""Evaluations in which an average forgets half of the past."""
EMA_LONGEST = EMA_HALF_LIFE / KEPT_PER_EFOLD
"""The same in e-folds, where evaluations are further apart than 1/25 of an e-fold."""

SLOPE_POINTS = (5, 10)
SLOPE_SPAN = 0.2


class LogClock:
    """Log time of a run, in e-folds of the steps since its origin.

    The origin is step 0, unless the first record lies further from 0 than ten times the distance to the second: then the
    start of training is not in the log and the first record is the origin.
    """

    def __init__(self) -> None:
        self.origin = 0
        self.first: int | None = None
        self._second: int | None = None

    def observe(self, step: int) -> None:
        """Tell the clock that there is a record at `step`; only the first two matter."""
        if self.first is None:
            self.first = self.origin = step
        elif self._second is None:
            self._second = step
            self.origin = 0 if self.first <= 10 * (step - self.first) else self.first

    def __call__(self, step: int) -> float:
        """Log time of a step, dimensionless."""
        return math.log(step - self.origin + 1)

    def next_due(self, step: int) -> float:
        """First step at which another evaluation may follow one at `step`."""
        return self.origin - 1 + (step - self.origin + 1) * math.exp(1 / EVALUATIONS_PER_EFOLD)


class LogSeries:
    """One metric: its raw points, and its evaluations in log time.

    Attributes:
        steps: Steps of all raw points.
        values: Values of all raw points.
        count: Number of evaluations so far.
        tail: The last evaluations, (step, value), oldest first.
        older: Evaluations before those, thinned.
        ema: Exponential average of the evaluations, half-life 5 evaluations but no more than .2 e-folds.
        ema_noise: Standard deviation of white noise in `ema`, as a share of that in the evaluations.
        peak: Greatest 3-point median of the evaluations so far.
        floor: Least evaluation so far.
        low: Least 3-point median of the evaluations since `mark`.
        ema_peak: Greatest `ema` since `mark`.
        marked_peak: Greatest 3-point median since `mark`.
    """

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.values: list[float] = []
        self.count = 0
        self.tail: list[tuple[int, float]] = []
        self.older: list[tuple[int, float]] = []
        self.ema = math.nan
        self.ema_noise = 1.0
        self.peak = -math.inf
        self.floor = math.inf
        self._gathered = 0
        self.mark()

    def __bool__(self) -> bool:
        return self.count > 0

    @property
    def level(self) -> float:
        """Value of the latest evaluation."""
        return self.tail[-1][1]

    @property
    def first(self) -> float:
        """Value of the first raw point."""
        return self.values[0]

    @property
    def first_positive(self) -> float:
        """First raw value over 0, or 0 if there is none: some loggers write 0 before there is a loss."""
        return next((value for value in self.values if value > 0), 0.0)

    @property
    def recent(self) -> float:
        """Median of the last three evaluations."""
        return median(value for _, value in self.tail[-3:])

    def add(self, step: int, value: float) -> None:
        """Append a finite raw point."""
        self.steps.append(step)
        self.values.append(value)

    def extend(self, steps: Sequence[int], values: Sequence[float]) -> None:
        """Append finite raw points."""
        self.steps.extend(steps)
        self.values.extend(values)

    def mark(self) -> None:
        """Forget extrema: `ema_peak`, `marked_peak` and `low` start again at the next evaluation."""
        self.ema_peak = self.marked_peak = -math.inf
        self.low = math.inf

    def evaluate(self, clock: LogClock) -> None:
        """Gather the raw points since the last evaluation, at most 50 of them, into a new one."""
        fresh = self.values[max(self._gathered, len(self.values) - TAIL) :]
        if not fresh:
            return
        self._gathered = len(self.values)
        value = fresh[0] if len(fresh) == 1 else median(fresh)
        self.count += 1
        self.tail.append((self.steps[-1], value))
        if len(self.tail) > TAIL:
            self._retire(self.tail.pop(0), clock)
        self._average(value, clock)
        self._track(self.recent)

    def slope(self, clock: LogClock, *, log: bool = False) -> float | None:
        """Theil-Sen slope of the latest evaluations.

        Args:
            clock: Log time of the run.
            log: Slope of the logarithm of the values, which must be positive, in place of the values.

        Returns:
            Change per e-fold of steps over the last 10 evaluations (down to 5 where those span .2 e-folds); None with
            fewer than 5.
        """
        window = self.window(clock)
        if window is None:
            return None
        ys = [math.log(max(y, 1e-300)) for _, y in window] if log else [y for _, y in window]
        return theil_sen([clock(step) for step, _ in window], ys)

    def window(self, clock: LogClock) -> list[tuple[int, float]] | None:
        """The evaluations a slope is taken over, None with fewer than 5."""
        few, many = SLOPE_POINTS
        points = self.tail[-many:]
        while len(points) > few and clock(points[-1][0]) - clock(points[1][0]) >= SLOPE_SPAN:
            points = points[1:]
        return points if len(points) >= few else None

    def noise(self) -> float:
        """Standard deviation of the noise of the last 25 evaluations, in the unit of the values."""
        return noise_sd([value for _, value in self.tail[-25:]])

    def slope_error(self, clock: LogClock) -> float:
        """Standard error of `slope` of the logarithm that the noise of the series explains, per e-fold."""
        window = self.window(clock)
        if window is None:
            return 0.0
        times = [clock(step) for step, _ in window]
        middle = sum(times) / len(times)
        spread = math.sqrt(sum((time - middle) ** 2 for time in times))
        return self.noise() / max(abs(self.recent), 1e-300) / spread

    def _average(self, value: float, clock: LogClock) -> None:
        if self.count == 1:
            self.ema = value
            return
        apart = clock(self.tail[-1][0]) - clock(self.tail[-2][0])
        new = 1 - 0.5 ** max(1 / EMA_HALF_LIFE, apart / EMA_LONGEST)
        self.ema += new * (value - self.ema)
        self.ema_noise = math.sqrt(((1 - new) * self.ema_noise) ** 2 + new**2)

    def _retire(self, point: tuple[int, float], clock: LogClock) -> None:
        if not self.older or clock(point[0]) - clock(self.older[-1][0]) >= 1 / KEPT_PER_EFOLD:
            self.older.append(point)

    def _track(self, recent: float) -> None:
        self.peak = max(self.peak, recent)
        self.floor = min(self.floor, self.level)
        self.ema_peak = max(self.ema_peak, self.ema)
        self.marked_peak = max(self.marked_peak, recent)
        self.low = min(self.low, recent)


def theil_sen(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Median slope over all pairs of points: a straight line that a minority of outliers cannot move.

    Args:
        xs: Strictly increasing positions.
        ys: One value for each.

    Returns:
        Units of y per unit of x; 0 for fewer than two points.

    References:
        Theil 1950; Sen 1968, https://doi.org/10.1080/01621459.1968.10480934
    """
    n = len(xs)
    slopes = [(ys[j] - ys[i]) / (xs[j] - xs[i]) for i in range(n) for j in range(i + 1, n)]
    return median(slopes) if slopes else 0.0


def median3(values: Sequence[float]) -> list[float]:
    """Centred 3-point median; the two ends keep their own value."""
    inner = [sorted(values[i - 1 : i + 2])[1] for i in range(1, len(values) - 1)]
    return [*values[:1], *inner, *values[max(len(values) - 1, 1) :]]


def noise_sd(values: Sequence[float]) -> float:
    """Standard deviation of white noise on a smooth curve, from its second differences.

    Args:
        values: Evenly enough spaced values; fewer than 5 give 0.

    Returns:
        Robust estimate (median absolute second difference), in the unit of the values.
    """
    if len(values) < 5:
        return 0.0
    bends = [abs(values[i - 1] - 2 * values[i] + values[i + 1]) for i in range(1, len(values) - 1)]
    # a second difference of white noise has deviation sqrt(6) sigma, and a Gaussian's median modulus is .6745 of that
    return median(bends) / (0.6745 * math.sqrt(6))
