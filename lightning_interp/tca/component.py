# SPDX-License-Identifier: Apache-2.0
"""The description of one tensor component: plain numbers, and one sentence for people."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lightning_interp.tca.loading import LEVEL, ClassLoading, SplitLoading
from lightning_interp.tca.rise import Trend

_LISTED = 6


@dataclass(frozen=True)
class ComponentDescription:
    """What one component is about, in plain Python values. It describes: a component is no mechanism by itself.

    Loadings are entries of a factor column of unit norm, dimensionless; steps are optimizer steps of snapshots.

    Attributes:
        component: Its identity: the column of the fit, or that column's entry of `ids`.
        variance_share: λ² over the sum of λ² of all components, in [0, 1].
        trend: ``rises``, ``falls``, ``rises and falls`` or ``steady``; this and the steps by the rules of `describe_rise`.
        rise_step: First step over 10 % of the way from floor to peak for good; None where the component does not rise.
        half_step: The same for half of the way.
        peak_step: Step of the highest value.
        saturation_step: First step from which it stays over 90 % of the way; None if it does not.
        end_share: Value at the last snapshot as a share of the peak.
        phase_overlap: Share of its rise that happens in each phase, see `share_of_rise`; empty where it does not rise.
        classes: Classes whose mean absolute loading exceeds the permutation null, see `class_loadings`; highest first.
        classes_tested: Number of classes compared, 0 without labels.
        split: Mean absolute loading by split and p-value, see `split_loadings`; None unless there are both splits.
        top_stimuli: Rows of the stimulus factor with the largest absolute loadings, largest first.
        top_units: Rows of the unit factor, likewise.
        stimulus_gini: Gini coefficient of the squared stimulus loadings: 0 all equal, towards 1 few carry everything.
        unit_gini: The same for units. Squares of Gaussian loadings give 2/π, about .64.
        active_units: Fewest units that carry 90 % of the squared unit loading.
        n_units: Number of units.
    """

    component: int
    variance_share: float
    trend: Trend
    rise_step: int | None
    half_step: int | None
    peak_step: int
    saturation_step: int | None
    end_share: float
    phase_overlap: Mapping[str, float]
    classes: tuple[ClassLoading, ...]
    classes_tested: int
    split: SplitLoading | None
    top_stimuli: tuple[int, ...]
    top_units: tuple[int, ...]
    stimulus_gini: float
    unit_gini: float
    active_units: int
    n_units: int

    def to_dict(self) -> dict[str, Any]:
        """The fields as values that JSON gives back unchanged."""
        lists = {"classes": list(self.classes), "top_stimuli": list(self.top_stimuli), "top_units": list(self.top_units)}
        return {**asdict(self), **lists}

    def sentence(self) -> str:
        """When it rises and in which phase, what loads on it, and how few units carry it, in one line."""
        if not self.active_units or not self.variance_share:
            return f"component {self.component} carries nothing"
        subject = f"component {self.component} ({_percent(self.variance_share)} of the energy)"
        parts = [f"{subject} {_course(self)}{_phase(self)}", _loads(self), _units(self)]
        return "; ".join(part for part in parts if part)


def _course(this: ComponentDescription) -> str:
    left = _percent(this.end_share)
    if this.trend == "steady":
        return "is steady over training"
    if this.rise_step is None:
        return f"falls from its peak at step {this.peak_step:,} to {left} of it at the end"
    if this.rise_step == this.saturation_step:
        return f"jumps up at step {this.rise_step:,} and stays"
    events = [f"{'jumps up at' if this.rise_step == this.peak_step else 'rises from'} step {this.rise_step:,}"]
    reached = this.peak_step if this.saturation_step is None else this.saturation_step
    if this.half_step is not None and this.rise_step < this.half_step < reached:
        events.append(f"is half-way at {this.half_step:,}")
    if this.rise_step < this.peak_step and (this.saturation_step is None or this.trend == "rises and falls"):
        events.append(f"peaks at {this.peak_step:,}")
    if this.saturation_step is None:
        events.append(f"is at {left} of its peak at the end")
    else:
        again = "is back from a dip" if this.trend == "rises and falls" else "saturates"
        events.append(f"{again} at {this.saturation_step:,}")
    return f"{', '.join(events[:-1])} and {events[-1]}"


def _phase(this: ComponentDescription) -> str:
    if not this.phase_overlap:
        return ""
    name, share = max(this.phase_overlap.items(), key=lambda entry: entry[1])
    if share < 0.005:
        return ""
    degree = "mostly" if share >= 0.5 else "more than at other times"
    return f", {degree} during {name.replace('_', ' ')} ({_percent(share)} of its rise)"


def _loads(this: ComponentDescription) -> str:
    loads = []
    if this.split is not None and this.split["p_value"] <= LEVEL:
        more, less = ("held-out", "train") if this.split["heldout"] > this.split["train"] else ("train", "held-out")
        loads.append(f"on {more} more than {less} ({_p(this.split['p_value'])})")
    if this.classes:
        labels = ", ".join(str(entry["label"]) for entry in this.classes[:_LISTED])
        more = f" and {len(this.classes) - _LISTED} more" if len(this.classes) > _LISTED else ""
        loads.append(f"on {'class' if len(this.classes) == 1 else 'classes'} {labels}{more}")
    if loads:
        return f"loads {' and '.join(loads)}"
    return "no class stands out" if this.classes_tested > 1 else ""


def _units(this: ComponentDescription) -> str:
    verb = "carries" if this.active_units == 1 else "carry"
    gini = _no_leading_zero(f"{this.unit_gini:.2f}")
    return f"{this.active_units:,} of {this.n_units:,} units {verb} 90 % of it (Gini {gini})"


def _percent(share: float) -> str:
    return "<1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def _p(value: float) -> str:
    return "p < .001" if value < 0.0005 else f"p = {_no_leading_zero(f'{value:.3f}')}"


def _no_leading_zero(number: str) -> str:
    return number.removeprefix("0")
