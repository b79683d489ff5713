# SPDX-License-Identifier: Apache-2.0
"""TCA that follows a run: new snapshots cost what they are, not what came before, and components stay themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from lightning_interp.core.errors import ConfigError, ShapeError
from lightning_interp.core.shapes import Float, Float64, Tensor
from lightning_interp.core.tca_settings import FEWEST_SNAPSHOTS, HISTORY
from lightning_interp.tca.compress import Compressed
from lightning_interp.tca.cp import CPFit
from lightning_interp.tca.decompose import MAX_ITER, TOL, check_rank, checked_request, table_row
from lightning_interp.tca.ensemble import Problem, full_size, sweep_ensemble
from lightning_interp.tca.fitting import as_fits
from lightning_interp.tca.heldout import HeldoutErrors
from lightning_interp.tca.identity import ComponentChange, first_seen, followed
from lightning_interp.tca.models import Models, joined
from lightning_interp.tca.prediction import SlicePredictions, loadings_of
from lightning_interp.tca.selection import RankSelection, recommend
from lightning_interp.tca.similarity import similarities
from lightning_interp.tca.source import float64_device
from lightning_interp.tca.streaming_basis import StreamingBasis

DIRECTIONS_PER_COMPONENT, FEWEST_DIRECTIONS = 4, 32
"""Directions of stimuli and of units kept: four for each component of the largest rank, at least 32."""

PATIENCE = 2
"""Refits in a row that must recommend another rank before it is followed."""


class OnlineTCA:
    """Components of a run that goes on.

    `add` folds a snapshot in: O(stimuli * units * directions), independent of the snapshots before. `refit` fits all
    ranks to the compressed history, warm from the last fits and from fresh random starts, and gives components the
    identities they had.
    Memory: `history` * directions² numbers and the bases; the snapshots themselves are not kept.

    Held-out errors are those of prediction: each new snapshot's loadings are found on half of its stimuli and predict the
    other half, before the snapshot enters any fit.

    Args:
        ranks: Ranks to fit at each refit.
        restarts: Random starts of each rank at each refit, beside the warm one.
        nonnegative: Whether factors may not be negative.
        seed: Seed of the starts.
        device: Where to compute.
        history: Most snapshots kept; beyond that they are thinned evenly in log(step).
        tol: As for `fit_cp`.
        max_iter: As for `fit_cp`.

    Raises:
        ConfigError: An argument cannot be honoured.
    """

    def __init__(  # noqa: PLR0913 - the knobs of a fit, each with a default
        self,
        ranks: Sequence[int],
        *,
        restarts: int = 5,
        nonnegative: bool = False,
        seed: int = 0,
        device: str | torch.device = "cpu",
        history: int = HISTORY,
        tol: float = TOL,
        max_iter: int = MAX_ITER,
    ) -> None:
        self._request = checked_request(ranks, restarts, nonnegative, seed, tol, max_iter)
        if isinstance(history, bool) or not isinstance(history, int) or history < FEWEST_SNAPSHOTS:
            raise ConfigError(f"history: expected {FEWEST_SNAPSHOTS} snapshots or more, got {history!r}.")
        self._history, self._device = history, float64_device(device)
        directions = max(FEWEST_DIRECTIONS, DIRECTIONS_PER_COMPONENT * max(self._request.ranks))
        self._basis = StreamingBasis(directions)
        self._predictions = SlicePredictions(nonnegative=nonnegative)
        self._fits: dict[int, CPFit] = {}
        self._fit_steps: tuple[int, ...] = ()
        self._next_id, self._other_rank_for = 0, 0
        self.fit: CPFit | None = None
        self.selection: RankSelection | None = None
        self.component_ids: tuple[int, ...] = ()
        self.changes: tuple[ComponentChange, ...] = ()

    @property
    def steps(self) -> tuple[int, ...]:
        """Optimizer steps of the snapshots kept."""
        return tuple(self._basis.steps)

    @property
    def fit_steps(self) -> tuple[int, ...]:
        """Optimizer steps of the rows of `fit.factors[0]`: the snapshots kept at the last refit."""
        return self._fit_steps

    @property
    def silent(self) -> bool:
        """Whether all that was added is zero, so that there is nothing to fit yet."""
        return not bool(self._basis.core.any())

    def add(self, step: int, activations: Float[Tensor, "stimulus unit"]) -> None:
        """Fold one snapshot in.

        Raises:
            ShapeError: Other axes than before, or an entry that is not finite.
            ConfigError: A step that does not ascend, or a negative entry where that is not allowed.
        """
        self._check(step, activations)
        snapshot = activations.detach().to(self._device).double()
        self._predictions.judge(snapshot, self._fits)
        self._basis.add(step, snapshot)
        self._basis.thin(self._history)

    def loadings(self, activations: Float[Tensor, "stimulus unit"]) -> Float64[Tensor, " rank"]:
        """How strongly each component of `fit` is in one snapshot: least squares with stimulus and unit factors held.

        Args:
            activations: A snapshot, in the scale of those added.

        Returns:
            In the order of `component_ids`, in the unit of the activations' entries times √(stimuli * units).

        Raises:
            ConfigError: Nothing has been fitted yet.
            ShapeError: Other stimuli or units than those added.
        """
        if self.fit is None:
            raise ConfigError("OnlineTCA.loadings: nothing is fitted yet; call refit() after the first snapshots.")
        if tuple(activations.shape) != self.fit.shape[1:]:
            raise ShapeError(f"activations: expected shape {self.fit.shape[1:]}, got {tuple(activations.shape)}.")
        return loadings_of(activations.to(self._device).double(), self.fit, nonnegative=self._request.nonnegative)

    def refit(self) -> RankSelection:
        """Fit all ranks to what is kept, and follow the components of the recommended one.

        Returns:
            The table of this refit; `fit`, `component_ids` and `changes` are those of the rank that is followed.

        Raises:
            ConfigError: Fewer than three snapshots, or ranks the data cannot carry.
            ShapeError: All activations are zero.
        """
        if len(self.steps) < FEWEST_SNAPSHOTS:
            raise ConfigError(
                f"OnlineTCA.refit: needs {FEWEST_SNAPSHOTS} snapshots or more, has {len(self.steps)}; add some."
            )
        compressed = self._basis.compressed()
        problem = self._problem(compressed)
        check_rank(max(self._request.ranks), problem.shape)
        ensemble = sweep_ensemble(problem, self._request, starts=self._warm_starts(), random_too=True)
        best = full_size(ensemble.models.select(ensemble.best), ensemble.compressed, self._request)
        self._fits = as_fits(ensemble, best, ensemble.errors[ensemble.best])
        self._fit_steps = self.steps
        similar = similarities(ensemble.models, ensemble.best)
        heldout = self._predictions.errors()
        table = tuple(table_row(fit, ensemble, similar.get(rank), heldout.get(rank)) for rank, fit in self._fits.items())
        errors = HeldoutErrors(heldout, dict.fromkeys(heldout, 0.0), {}) if heldout else None
        recommended, reasons = recommend(table, self._fits, errors)
        self.selection = RankSelection(table, self._fits, recommended, reasons)
        self._predictions.age()
        self._follow(self._fits[self._rank_to_follow(recommended)])
        return self.selection

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything needed to go on later: tensors by name, and values JSON can hold."""
        tensors = {"core": self._basis.core.clone(), "energies": torch.tensor(self._basis.energies, dtype=torch.float64)}
        tensors |= {f"basis/{mode}": basis.clone() for mode, basis in enumerate(self._basis.bases, start=1)}
        for name, fit in self._named_fits():
            tensors |= {f"{name}/cp_weights": fit.cp_weights.clone()}
            tensors |= {f"{name}/factor/{mode}": factor.clone() for mode, factor in enumerate(fit.factors)}
        request = self._request
        settings = {"ranks": list(request.ranks), "restarts": request.restarts, "nonnegative": request.nonnegative}
        settings |= {"seed": request.seed, "tol": request.tol, "max_iter": request.max_iter, "history": self._history}
        selection = self.selection
        return {name: tensor.cpu() for name, tensor in tensors.items()}, {
            "settings": settings,
            "steps": list(self.steps),
            "fit_steps": list(self._fit_steps),
            "component_ids": list(self.component_ids),
            "changes": [asdict(change) for change in self.changes],
            "next_id": self._next_id,
            "other_rank_for": self._other_rank_for,
            "predictions": self._predictions.state(),
            "fits": {name: _fit_facts(fit) for name, fit in self._named_fits()},
            "table": None if selection is None else [dict(row) for row in selection.table],
            "recommended": None if selection is None else selection.recommended,
            "reasons": [] if selection is None else list(selection.reasons),
        }

    @classmethod
    def from_state(
        cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], *, device: str | torch.device = "cpu"
    ) -> "OnlineTCA":
        """Go on from what `state` gave.

        Raises:
            KeyError: The state is not whole.
        """
        tca = cls(**metadata["settings"], device=device)
        basis = tca._basis
        basis.steps, basis.energies = list(metadata["steps"]), tensors["energies"].tolist()
        basis.core = tensors["core"].to(tca._device)
        basis.bases = tuple(tensors[f"basis/{mode}"].to(tca._device) for mode in (1, 2)) if basis.steps else ()
        fits = {name: _read_fit(tensors, name, facts, tca._device) for name, facts in metadata["fits"].items()}
        tca.fit = fits.pop("followed", None)
        tca._fits = {int(name.removeprefix("rank/")): fit for name, fit in fits.items()}
        tca._fit_steps, tca.component_ids = tuple(metadata["fit_steps"]), tuple(metadata["component_ids"])
        tca.changes = tuple(ComponentChange(**change) for change in metadata["changes"])
        tca._next_id, tca._other_rank_for = metadata["next_id"], metadata["other_rank_for"]
        tca._predictions.restore(metadata["predictions"])
        if metadata["table"] is not None:
            tca.selection = RankSelection(
                tuple(metadata["table"]), tca._fits, metadata["recommended"], tuple(metadata["reasons"])
            )
        return tca

    def _check(self, step: int, activations: Tensor) -> None:
        shape = tuple(basis.shape[0] for basis in self._basis.bases)
        if activations.ndim != 2 or 0 in activations.shape or (shape and tuple(activations.shape) != shape):
            expected = f"{shape}, as before" if shape else "(stimulus, unit)"
            raise ShapeError(f"activations: expected shape {expected}, got {tuple(activations.shape)} at step {step}.")
        if self.steps and step <= self.steps[-1]:
            raise ConfigError(f"step: snapshots come in ascending order; {step} came after {self.steps[-1]}.")
        if not bool(torch.isfinite(activations).all()):
            place = tuple(torch.nonzero(~torch.isfinite(activations))[0].tolist())
            raise ShapeError(
                f"activations: entry {place} of step {step} is {float(activations[place])}; leave the step out."
            )
        if self._request.nonnegative and float(activations.amin()) < 0:
            raise ConfigError(
                f"nonnegative: activations of step {step} are negative (lowest {float(activations.amin()):.3g}); "
                "use nonnegative=False."
            )

    def _problem(self, compressed: Compressed) -> Problem:
        shape = tuple(basis.shape[0] for basis in compressed.bases)

        def narrowed(sizes: tuple[int, ...]) -> Compressed:
            return compressed.leading(tuple(min(pair) for pair in zip(sizes, compressed.ranks, strict=True)))

        return Problem(shape, torch.float64, self._device, narrowed)

    def _warm_starts(self) -> Models | None:
        """The last fits, with loadings of the snapshots that came since."""
        if not self._fits:
            return None
        rows, columns = self._basis.bases
        batches = []
        for number, (rank, fit) in enumerate(self._fits.items()):
            inside = CPFit(fit.cp_weights, (fit.factors[0], rows.T @ fit.factors[1], columns.T @ fit.factors[2]), 0, True, 0)
            courses = loadings_of(self._basis.core, inside, nonnegative=self._request.nonnegative)
            factors = (courses.T[None], fit.factors[1].T[None], fit.factors[2].T[None])
            one = torch.tensor([rank], device=self._device)
            batches.append(Models(factors, one, torch.full_like(one, number)))
        return joined(batches)

    def _rank_to_follow(self, recommended: int) -> int:
        """The rank followed so far until another has been recommended `PATIENCE` times in a row."""
        if self.fit is None or self.fit.rank == recommended:
            self._other_rank_for = 0
            return recommended
        self._other_rank_for += 1
        if self._other_rank_for < PATIENCE and self.fit.rank in self._fits:
            return self.fit.rank
        self._other_rank_for = 0
        return recommended

    def _follow(self, fit: CPFit) -> None:
        step = self.steps[-1]
        if self.fit is None:
            seen = first_seen(fit, step=step)
        else:
            seen = followed(fit, self.fit, self.component_ids, step=step, next_id=self._next_id)
        self.fit, self.component_ids = seen.fit, seen.ids
        self.changes += seen.changes
        self._next_id = max(self._next_id, 1 + max(seen.ids))

    def _named_fits(self) -> list[tuple[str, CPFit]]:
        named = [(f"rank/{rank}", fit) for rank, fit in self._fits.items()]
        return named if self.fit is None else [*named, ("followed", self.fit)]


def _fit_facts(fit: CPFit) -> dict[str, Any]:
    return {
        "relative_error": fit.relative_error,
        "converged": fit.converged,
        "n_iter": fit.n_iter,
        "flags": list(fit.flags),
        "axes": len(fit.factors),
    }


def _read_fit(tensors: Mapping[str, Tensor], name: str, facts: Mapping[str, Any], device: torch.device) -> CPFit:
    factors = tuple(tensors[f"{name}/factor/{mode}"].to(device) for mode in range(facts["axes"]))
    weights = tensors[f"{name}/cp_weights"].to(device)
    return CPFit(weights, factors, facts["relative_error"], facts["converged"], facts["n_iter"], tuple(facts["flags"]))
