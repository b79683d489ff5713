# SPDX-License-Identifier: Apache-2.0
"""Tensor components of one layer while its run grows: each snapshot folded in, a fit every so many of them.

Everything depends on the observations on disk and their order alone: an analyzer that goes on where another was killed, or
that starts from nothing, folds and fits at the same steps.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lightning_interp.core.errors import ConfigError, CorruptSnapshotError, InterpError
from lightning_interp.core.shapes import Float, Tensor
from lightning_interp.core.tca_settings import FEWEST_SNAPSHOTS, TCA, checked_ranks, most_components
from lightning_interp.store.components_file import (
    FollowState,
    StoredComponents,
    read_follow_state,
    write_components,
)
from lightning_interp.store.layout import OBSERVATIONS, step_file
from lightning_interp.store.tensor_file import read_tensors

if TYPE_CHECKING:
    from lightning_interp.tca import OnlineTCA

_SHAPES_FIT = ("ranks", "nonnegative", "restarts", "history", "seed")
"""Settings that make another fit when they change; `every` only moves later ones."""


class FollowedLayer:
    """Components of one layer.

    Args:
        run_dir: Run directory.
        layer: Layer name.
        settings: What to fit.
        device: Where to compute.
        notice: Takes a line for the user.
        may_write: Whether this analyzer is still the one that writes the run directory.
    """

    def __init__(
        self,
        run_dir: Path,
        layer: str,
        settings: TCA,
        *,
        device: str,
        notice: Callable[[str], None],
        may_write: Callable[[], bool],
    ) -> None:
        self.layer = layer
        self.device = device
        self._run_dir, self._settings = run_dir, settings
        self._notice, self._may_write = notice, may_write
        plain = settings.plain() | {"ranks": list(checked_ranks(settings.ranks))}
        self._key = {name: plain[name] for name in _SHAPES_FIT}
        self._online: OnlineTCA | None = None
        self._nonnegative: bool | None = None  # decided by the first activations
        self._scales: dict[int, float] = {}
        self._late: set[int] = set()
        self._unfitted = 0
        self._fewest_snapshots = FEWEST_SNAPSHOTS

    @property
    def last_step(self) -> int:
        """Latest step folded in, -1 for none."""
        return max(self._scales, default=-1)

    def restore(self, recorded: Sequence[int]) -> None:
        """Go on from the file an earlier analyzer left, where it fits the run as it stands, and fold in what is newer.

        Args:
            recorded: Steps with a standing record, ascending.
        """
        self._start_over(nonnegative=None)
        self._read_state(frozenset(recorded))
        for step in recorded:
            if step > self.last_step:
                self.follow(step)

    def loadings(self, activations: Float[Tensor, "stimulus unit"]) -> dict[int, float]:
        """Current loading of each component, by its identity: this snapshot seen through the latest fit.

        Empty before the first fit, and where the activations cannot be described by it.
        """
        if self._online is None or self._online.fit is None or not bool(torch.isfinite(activations).all()):
            return {}
        if self._nonnegative and bool((activations < 0).any()):
            return {}
        scaled, _ = _scaled(activations, step=0)
        values = self._online.loadings(scaled.to(self.device)).cpu().tolist()
        return dict(zip(self._online.component_ids, values, strict=True))

    def follow(self, step: int) -> None:
        """Fold in the stored activations of a recorded step, and fit again if that is due."""
        if step in self._scales:
            return
        activations = self._observed(step)
        if activations is None:
            return
        if step < self.last_step:  # observed late; the order of the snapshots is the order of the tensor's first axis
            self._late.add(step)
            return
        self._fold(step, activations)
        if self._unfitted >= self._settings.every:
            self.fit()

    def fit(self) -> None:
        """Fit again, if anything is new and there is enough, and commit the components."""
        if self._late:
            self._fold_again({*self._scales, *self._late}, nonnegative=self._nonnegative)
        if self._online is None or not self._unfitted or len(self._scales) < self._fewest_snapshots:
            return
        if self._online.silent:  # units that are dead so far may wake up: the next snapshot asks again
            return
        self._online.refit()
        self._unfitted = 0
        if self._may_write():
            self._write(self._online)

    def move_to(self, device: str) -> None:
        """Compute elsewhere from now on."""
        self.device = device
        if self._online is not None:
            self._online = _online_class().from_state(*self._online.state(), device=device)

    def _start_over(self, *, nonnegative: bool | None) -> None:
        self._online, self._nonnegative = None, nonnegative
        self._scales, self._late, self._unfitted = {}, set(), 0
        self._fewest_snapshots = FEWEST_SNAPSHOTS

    def _fold(self, step: int, activations: Float[Tensor, "stimulus unit"]) -> None:
        if not bool(torch.isfinite(activations).all()):
            self._notice(f"components of {self.layer} leave out steps at which its activations are not finite")
            return
        negative = bool((activations < 0).any())
        if self._nonnegative is None:
            self._nonnegative = not negative if self._settings.nonnegative == "auto" else self._settings.nonnegative
        if negative and self._nonnegative and self._settings.nonnegative == "auto":
            self._notice(
                f"activations of {self.layer} turn negative at step {step}: its components may be negative from here on, "
                "and are numbered anew"
            )
            self._fold_again({*self._scales, step}, nonnegative=False)
            return
        scaled, scale = _scaled(activations, step)
        if self._online is None:
            self._online = self._new_online(*scaled.shape)
        self._online.add(step, scaled.to(self.device))
        self._scales[step] = scale
        self._unfitted += 1

    def _fold_again(self, steps: set[int], *, nonnegative: bool | None) -> None:
        """Fold everything in from the first snapshot on, with fits at the steps they would have had."""
        self._start_over(nonnegative=nonnegative)
        for step in sorted(steps):
            self.follow(step)

    def _new_online(self, stimuli: int, units: int) -> "OnlineTCA":
        wanted = checked_ranks(self._settings.ranks)
        most = most_components((self._settings.history, stimuli, units))
        ranks = tuple(rank for rank in wanted if rank <= most)
        if not ranks:
            raise ConfigError(f"tca.ranks: {stimuli} stimuli x {units} units carry at most {most} components.")
        if ranks != wanted:
            self._notice(f"components of {self.layer}: {stimuli} stimuli x {units} units carry at most {most} of them")
        self._fewest_snapshots = next(
            count
            for count in range(FEWEST_SNAPSHOTS, 1 + self._settings.history)
            if most_components((count, stimuli, units)) >= ranks[-1]
        )
        return _online_class()(
            ranks,
            restarts=self._settings.restarts,
            nonnegative=bool(self._nonnegative),
            seed=self._settings.seed,
            device=self.device,
            history=self._settings.history,
        )

    def _observed(self, step: int) -> Float[Tensor, "stimulus unit"] | None:
        """Stored activations of one step, None where there are none of this layer."""
        path = step_file(self._run_dir / OBSERVATIONS, step)
        if not path.exists():
            return None
        try:
            return read_tensors(path, [self.layer]).tensors[self.layer]
        except KeyError:
            return None
        except CorruptSnapshotError as err:
            self._notice(f"components leave out step {step}: {err}")
            return None

    def _read_state(self, recorded: frozenset[int]) -> None:
        """Take over what an earlier analyzer left, unless the run or the settings are others now."""
        try:
            state = read_follow_state(self._run_dir, self.layer)
            if state is None or state.settings != self._key or not recorded.issuperset(state.scales):
                return
            self._online = _online_class().from_state(state.tensors, state.metadata, device=self.device)
        except (InterpError, KeyError, TypeError, ValueError) as err:  # damaged, or of another version
            self._notice(f"components of {self.layer} are made again from the stored activations: {err}")
            return
        self._scales, self._nonnegative = dict(state.scales), state.nonnegative

    def _write(self, online: "OnlineTCA") -> None:
        fit, selection = online.fit, online.selection
        assert fit is not None and selection is not None, "a refit leaves a fit and its table"
        when, stimuli, units = fit.factors
        components = StoredComponents(
            layer=self.layer,
            steps=online.fit_steps,
            cp_weights=fit.cp_weights,
            factors=(when, stimuli, units),
            component_ids=online.component_ids,
            changes=tuple(asdict(change) for change in online.changes),
            table=selection.table,
            recommended=selection.recommended,
            reasons=selection.reasons,
            relative_error=fit.relative_error,
            flags=fit.flags,
            preprocessing={
                "scale": "rms",
                "scales": [self._scales[step] for step in online.fit_steps],
                "stimuli": len(stimuli),
                "units": len(units),
            },
            nonnegative=bool(self._nonnegative),
            folded_steps=tuple(self._scales),
        )
        tensors, metadata = online.state()
        state = FollowState(self._key, self._scales, bool(self._nonnegative), tensors, metadata)
        write_components(self._run_dir, components, state)


def _scaled(activations: Float[Tensor, "stimulus unit"], step: int) -> tuple[Float[Tensor, "stimulus unit"], float]:
    """Activations with root mean square 1 and what they were divided by; stimuli and units were chosen for the whole run."""
    from lightning_interp.tca.preprocess import preprocess

    stimuli, units = activations.shape
    done = preprocess(activations[None], (step,), max_stimuli=stimuli, max_units=units)
    return done.tensor[0], float(done.scales[0])


def _online_class() -> "type[OnlineTCA]":
    """Imported where components are asked for: a run without them need not load the solvers."""
    from lightning_interp.tca import OnlineTCA

    return OnlineTCA
