# SPDX-License-Identifier: Apache-2.0
"""From a fitted CP model to a description of each of its components.

Factors may have negative entries: the curve over snapshots is read with its sign (`describe_rise`), loadings of stimuli by
absolute value in the tests of classes and splits, and by their squares, as those of units, for concentration.
"""

from collections.abc import Sequence
from typing import Any

import torch

from lightning_interp.core.errors import ConfigError, ShapeError
from lightning_interp.core.shapes import Bool, Float64, Int, Tensor
from lightning_interp.core.timeline import Phase
from lightning_interp.tca.checks import (
    AXES,
    Values,
    check_finite,
    check_whole,
    checked_heldout,
    checked_labels,
    checked_steps,
)
from lightning_interp.tca.component import ComponentDescription as ComponentDescription
from lightning_interp.tca.cp import CPFit
from lightning_interp.tca.loading import (
    ClassLoading,
    SplitLoading,
    carriers,
    class_loadings,
    gini,
    split_loadings,
    strongest,
)
from lightning_interp.tca.rise import describe_rise, share_of_rise

ACTIVE_SHARE = 0.9
"""Share of the squared loading that the active units carry."""
TOP = 10
"""How many stimuli and units are listed by index."""
FEWEST_PERMUTATIONS = 19
"""With fewer, no p-value could be as low as .05."""

_CALLER = "describe_components"


def describe_components(  # noqa: PLR0913 - the fit, what is known of its axes, and the size of the null
    fit: CPFit,
    steps: Sequence[int],
    *,
    labels: Values | None = None,
    heldout: Values | None = None,
    phases: Sequence[Phase] = (),
    permutations: int = 1000,
    seed: int = 0,
    ids: Sequence[int] | None = None,
) -> tuple[ComponentDescription, ...]:
    """When each component rises, what loads on it beyond chance, and how few units carry it.

    Args:
        fit: CP model with the axes (snapshot, stimulus, unit).
        steps: Optimizer step of each snapshot, strictly ascending.
        labels: Integer class of each stimulus, None where there are none.
        heldout: True for stimuli that are not trained on, None where that is not known.
        phases: Phases of the run, normally `Timeline.phases`.
        permutations: Size of the permutation null, 19 or more; the lowest p-value is 1 / (1 + permutations).
        seed: Seed of the permutations; no global random stream is touched.
        ids: Identity of each component, None for its column.

    Returns:
        One description per component, in the order of the columns.

    Raises:
        ShapeError: The fit does not have three axes or has entries that are NaN or infinite, or `steps`, `labels` or
            `heldout` do not have one value per row of their factor.
        ConfigError: Steps that do not ascend, too few permutations, a phase that ends before it starts, or `ids` that are
            not one distinct integer per component.
    """
    curves, stimuli, units = _checked_factors(fit)
    plain = checked_steps(steps, len(curves), caller=_CALLER)
    classes = checked_labels(labels, len(stimuli), caller=_CALLER)
    splits = checked_heldout(heldout, len(stimuli), caller=_CALLER)
    check_whole(permutations, "permutations", least=FEWEST_PERMUTATIONS, caller=_CALLER)
    check_whole(seed, "seed", least=0, caller=_CALLER)
    names = _checked_ids(ids, fit.rank)

    by_class, by_split = _tested(stimuli, classes, splits, permutations=permutations, seed=seed)
    n_classes = 0 if classes is None else len(torch.unique(classes))
    loaded = [
        {**concentrated, "classes": by_class[column], "classes_tested": n_classes, "split": by_split[column]}
        for column, concentrated in enumerate(_concentration(stimuli, units))
    ]
    courses = [_course(curve, plain, phases) for curve in curves.T]
    shares = fit.variance_shares().tolist()
    return tuple(
        ComponentDescription(component=names[n], variance_share=shares[n], **courses[n], **loaded[n])
        for n in range(fit.rank)
    )


def _course(curve: Float64[Tensor, " snapshot"], steps: tuple[int, ...], phases: Sequence[Phase]) -> dict[str, Any]:
    """When a component rises, by the names of `ComponentDescription`."""
    rise = describe_rise(curve, steps)
    return {
        "trend": rise.trend,
        "rise_step": rise.rise_step,
        "half_step": rise.half_step,
        "peak_step": rise.peak_step,
        "saturation_step": rise.saturation_step,
        "end_share": rise.end_share,
        "phase_overlap": share_of_rise(rise, steps, phases),
    }


def _concentration(stimuli: Float64[Tensor, "stimulus component"], units: Float64[Tensor, "unit component"]) -> list[Any]:
    """How few stimuli and units carry each component, by the names of `ComponentDescription`."""
    columns = zip(
        strongest(stimuli, TOP),
        strongest(units, TOP),
        gini(stimuli.square()).tolist(),
        gini(units.square()).tolist(),
        carriers(units.square(), ACTIVE_SHARE).tolist(),
        strict=True,
    )
    names = ("top_stimuli", "top_units", "stimulus_gini", "unit_gini", "active_units")
    return [{**dict(zip(names, column, strict=True)), "n_units": len(units)} for column in columns]


def _tested(
    stimuli: Float64[Tensor, "stimulus component"],
    labels: Int[Tensor, " stimulus"] | None,
    heldout: Bool[Tensor, " stimulus"] | None,
    *,
    permutations: int,
    seed: int,
) -> tuple[Sequence[tuple[ClassLoading, ...]], Sequence[SplitLoading | None]]:
    """The classes and the split that load on each component; nothing where there is nothing to compare."""
    generator = torch.Generator().manual_seed(seed)
    by_class: Sequence[tuple[ClassLoading, ...]] = [()] * stimuli.shape[1]
    by_split: Sequence[SplitLoading | None] = [None] * stimuli.shape[1]
    if labels is not None:
        by_class = class_loadings(stimuli, labels, heldout, permutations=permutations, generator=generator)
    if heldout is not None:
        by_split = split_loadings(stimuli, labels, heldout, permutations=permutations, generator=generator)
    return by_class, by_split


def _checked_factors(fit: CPFit) -> list[Float64[Tensor, "_ component"]]:
    """Snapshot, stimulus and unit factor in float64 on the CPU."""
    if len(fit.factors) != 3 or not all(fit.shape) or not fit.rank:
        raise ShapeError(
            f"{_CALLER}: `fit` needs the axes (snapshot, stimulus, unit) and one component or more, "
            f"got rank {fit.rank} and shape {fit.shape}. Fit activations stacked over snapshots with `fit_cp`."
        )
    check_finite(fit.cp_weights, ("component",), f"{_CALLER}: `fit.cp_weights`")
    for axis, factor in zip(AXES, fit.factors, strict=True):
        check_finite(factor, (axis, "component"), f"{_CALLER}: the {axis} factor of `fit`")
    return [factor.detach().cpu().double() for factor in fit.factors]


def _checked_ids(ids: Sequence[int] | None, rank: int) -> tuple[int, ...]:
    names = tuple(range(rank)) if ids is None else tuple(ids)
    if len(names) != rank or len(set(names)) != rank or not all(isinstance(name, int) for name in names):
        raise ConfigError(f"{_CALLER}: `ids` must be {rank} distinct integers, one per component, got {ids!r}.")
    return names
