# SPDX-License-Identifier: Apache-2.0
"""What the component analysis of one layer found, and the plain values that ``lightning-interp tca --json`` prints of it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lightning_interp.core.plain_values import finite
from lightning_interp.posthoc.stimuli import Stimuli
from lightning_interp.tca import ComponentDescription, CPFit, Preprocessed, RankSelection


@dataclass(frozen=True)
class LayerComponents:
    """What was found in one layer.

    Attributes:
        layer: Its name.
        prepared: The tensor, its steps, and what was done to the activations.
        nonnegative: Whether factors may not be negative.
        why: Why that is so, in words.
        notes: What was done to the activations and to the ranks asked for, one sentence each.
        selection: Fits of every rank, the recommended rank and the reasons.
        null: Fit of the recommended rank with unit labels shuffled in every snapshot.
        descriptions: The components in words and numbers.
        stimuli: Classes and splits of the stimuli that were kept.
    """

    layer: str
    prepared: Preprocessed
    nonnegative: bool
    why: str
    notes: tuple[str, ...]
    selection: RankSelection
    null: CPFit
    descriptions: tuple[ComponentDescription, ...]
    stimuli: Stimuli

    @property
    def fit(self) -> CPFit:
        """Fit of the recommended rank."""
        return self.selection.fits[self.selection.recommended].to("cpu")

    @cached_property
    def content(self) -> dict[str, Any]:
        """One entry of the JSON output's ``layers``: plain values, None for a number that is not finite."""
        fit = self.fit
        found: dict[str, Any] = finite(
            {
                "layer": self.layer,
                "table": [dict(row) for row in self.selection.table],
                "recommended": self.selection.recommended,
                "reasons": list(self.selection.reasons),
                "nonnegative": self.nonnegative,
                "preprocessing": list(self.notes),
                "fit": {
                    "rank": fit.rank,
                    "relative_error": fit.relative_error,
                    "converged": fit.converged,
                    "n_iter": fit.n_iter,
                    "flags": list(fit.flags),
                    "cp_weights": fit.cp_weights.tolist(),
                    "snapshot_factor": [
                        [list(pair) for pair in zip(self.prepared.steps, column.tolist(), strict=True)]
                        for column in fit.factors[0].T
                    ],
                },
                "components": [{**each.to_dict(), "sentence": each.sentence()} for each in self.descriptions],
                "null": {"relative_error": self.null.relative_error},
            }
        )
        return found
