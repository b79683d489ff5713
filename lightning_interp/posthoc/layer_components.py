# SPDX-License-Identifier: Apache-2.0
"""The component analysis of one stored layer: prepare, choose a rank, compare with a null, describe."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from lightning_interp.core.errors import ConfigError, InterpError
from lightning_interp.core.shapes import Float, Tensor
from lightning_interp.core.tca_settings import COMPARED_RANKS, FEWEST_SNAPSHOTS, RESTARTS, most_components
from lightning_interp.posthoc.component_findings import LayerComponents
from lightning_interp.posthoc.stimuli import Stimuli, stimuli_of
from lightning_interp.store.run import Run
from lightning_interp.tca import (
    CPFit,
    Preprocessed,
    RankSelection,
    describe_components,
    fit_cp,
    preprocess,
    select_rank,
    shuffle_units,
)


@dataclass(frozen=True)
class Options:
    """What to fit.

    Attributes:
        ranks: Ranks to compare, ascending.
        restarts: Random starts of each.
        nonnegative: Whether factors may not be negative; None decides by the activations.
        seed: Seed of starts, shuffles and permutations.
        device: Where to compute.
    """

    ranks: tuple[int, ...] = COMPARED_RANKS
    restarts: int = RESTARTS
    nonnegative: bool | None = None
    seed: int = 0
    device: str = "cpu"


Report = Callable[[str, int, int], None]
"""Takes what is being done, the units of work done and those to do."""


def analyze_layer(
    run: Run, layer: str, options: Options = Options(), *, on_progress: Report = lambda *_: None
) -> LayerComponents:
    """Analyze the stored activations of one layer: what `lightning-interp tca` does.

    Args:
        run: Run directory.
        layer: Name of a stored layer.
        options: What to fit.
        on_progress: Told now and then how far the work is.

    Raises:
        ConfigError: The layer has too few snapshots, is all zero, or cannot be fitted as asked.
        ShapeError: It cannot be analyzed, with the reason.
        RunError: It is not stored, or a file is damaged.
        InterpError: The device has too little memory.
    """
    try:
        return _analyze(run, layer, options, on_progress)
    except torch.OutOfMemoryError as err:
        raise InterpError(f"out of memory on {options.device}. Use --device cpu, fewer --ranks or --restarts.") from err


def _analyze(run: Run, layer: str, options: Options, on_progress: Report) -> LayerComponents:
    activations, steps = run.activations(layer), run.observed_steps
    _check(activations, options)
    nonnegative, why = _sign(activations, options)
    stimuli = stimuli_of(run, activations.shape[1])
    prepared = preprocess(activations, steps, labels=stimuli.labels, heldout=stimuli.heldout)
    ranks, left_out = _possible_ranks(options.ranks, tuple(prepared.tensor.shape))
    selection, null = _fitted(prepared, replace(options, ranks=ranks), nonnegative, on_progress)
    on_progress("describing", 0, 1)
    kept, timeline = _kept(stimuli, prepared), run.timeline
    descriptions = describe_components(
        selection.fits[selection.recommended].to("cpu"),
        prepared.steps,
        labels=kept.labels,
        heldout=kept.heldout,
        phases=timeline.phases if timeline else (),
        seed=options.seed,
    )
    notes = (*prepared.notes, *left_out)
    return LayerComponents(layer, prepared, nonnegative, why, notes, selection, null, descriptions, kept)


def _fitted(prepared: Preprocessed, options: Options, nonnegative: bool, on_progress: Report) -> tuple[RankSelection, CPFit]:
    """Fits of all ranks, and of the recommended one where no unit lasts."""
    settings: dict[str, Any] = {
        "restarts": options.restarts,
        "nonnegative": nonnegative,
        "seed": options.seed,
        "device": options.device,
    }

    def fitting(done: int, total: int) -> None:
        on_progress("fitting", done, total)

    selection = select_rank(prepared.tensor, options.ranks, on_progress=fitting, **settings)
    on_progress("fitting the null", 0, 1)
    shuffled = shuffle_units(prepared.tensor, seed=options.seed)
    return selection, fit_cp(shuffled, selection.recommended, **settings).to("cpu")


def _check(activations: Float[Tensor, "snapshot stimulus unit"], options: Options) -> None:
    if len(activations) < FEWEST_SNAPSHOTS:
        raise ConfigError(
            f"activations of {len(activations)} snapshots, {FEWEST_SNAPSHOTS} or more are needed. Train longer, or give "
            "InterpMonitor a denser schedule (every_n_steps=...)."
        )
    if not bool(activations.any()):
        raise ConfigError("every stored activation is zero; there is nothing to decompose. Choose another --layer.")
    if options.nonnegative and bool((activations < 0).any()):
        raise ConfigError(
            f"--nonnegative: some activations are negative (down to {activations.min().item():.3g}). Leave the option out, "
            "or name a layer after its ReLU."
        )


def _sign(activations: Float[Tensor, "snapshot stimulus unit"], options: Options) -> tuple[bool, str]:
    """Whether factors may not be negative, and why."""
    if options.nonnegative is not None:
        return options.nonnegative, "as asked"
    nonnegative = not bool((activations < 0).any())
    return nonnegative, "no activation is negative" if nonnegative else "some activations are negative"


def _possible_ranks(ranks: tuple[int, ...], shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Ranks that a tensor of this shape can need, and a sentence about the others; with the most, every tensor is exact."""
    most = most_components(shape)
    possible = tuple(rank for rank in ranks if rank <= most)
    if not possible:
        raise ConfigError(f"--ranks: a tensor of shape {shape} is exact with {most} components; ask for no more.")
    return possible, () if possible == ranks else (
        f"Ranks over {most} left out: with {most} any tensor of this shape is exact.",
    )


def _kept(stimuli: Stimuli, prepared: Preprocessed) -> Stimuli:
    labels, heldout = stimuli.labels, stimuli.heldout
    return Stimuli(
        None if labels is None else labels[prepared.stimuli], None if heldout is None else heldout[prepared.stimuli]
    )
