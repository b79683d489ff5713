# SPDX-License-Identifier: Apache-2.0
"""A compression that grows with the run: a snapshot widens the bases by what they miss and is kept as a small core."""

from dataclasses import dataclass, field

import torch

from lightning_interp.core.errors import ShapeError
from lightning_interp.core.log_time import most_crowded
from lightning_interp.core.shapes import Float, Tensor
from lightning_interp.tca.compress import Compressed, compress, leading_eigenvectors
from lightning_interp.tca.source import Data

NEW_DIRECTIONS = 8
"""Most directions one snapshot adds to a basis."""

NEW_ENERGY = 1e-4
"""Share of a snapshot's energy that a direction outside the basis must hold to be added."""


@dataclass
class StreamingBasis:
    """Orthonormal bases of stimuli and units, and every kept snapshot in their coordinates.

    A snapshot costs 2 stimuli * units * (directions + 2 * NEW_DIRECTIONS) operations, however many came before. What a
    snapshot had outside the bases when it came is lost to it, and counted: its energy stays in `energies`, so errors
    include it.

    Attributes:
        most: Most directions of a basis; the weakest go when there would be more.
        steps: Optimizer steps of the kept snapshots.
        energies: ‖X_i‖² of each.
        core: Kept snapshots in coordinates, [snapshot, stimulus direction, unit direction], float64.
        bases: Of stimuli and of units, [size, direction], float64.
    """

    most: int
    steps: list[int] = field(default_factory=list)
    energies: list[float] = field(default_factory=list)
    core: Float[Tensor, "snapshot row column"] = field(default_factory=lambda: torch.zeros(0, 0, 0, dtype=torch.float64))
    bases: tuple[Tensor, ...] = ()

    def add(self, step: int, snapshot: Float[Tensor, "stimulus unit"]) -> None:
        """Fold one snapshot in."""
        matrix = snapshot.double()
        if not self.bases:
            self.bases = tuple(matrix.new_zeros(size, 0) for size in matrix.shape)
            self.core = self.core.to(matrix.device)
        rows, columns = self.bases
        rows = _widened(rows, matrix)
        columns = _widened(columns, matrix.T)
        grown = (0, columns.shape[1] - self.core.shape[2], 0, rows.shape[1] - self.core.shape[1])
        coordinates = rows.T @ matrix @ columns
        self.core = torch.cat([torch.nn.functional.pad(self.core, grown), coordinates[None]])
        self.bases = (rows, columns)
        self.steps.append(step)
        self.energies.append(float(matrix.square().sum()))
        self._narrow()

    def thin(self, most: int) -> None:
        """Drop snapshots until at most `most` are kept, each time the most crowded one in log time."""
        while len(self.steps) > most:
            drop = most_crowded(self.steps)
            keep = [index for index in range(len(self.steps)) if index != drop]
            self.core = self.core[keep]
            self.steps = [self.steps[index] for index in keep]
            self.energies = [self.energies[index] for index in keep]

    def compressed(self) -> Compressed:
        """The kept snapshots as a Tucker model of [snapshot, stimulus, unit], directions by descending energy."""
        sizes = tuple(self.core.shape)
        if not bool(self.core.any()):
            raise ShapeError(f"tensor: all activations of steps {self.steps} are zero, so there is nothing to decompose.")
        inner = compress(Data(self.core, device=self.core.device), sizes, exact=True)
        bases = (inner.bases[0], *(own @ turn for own, turn in zip(self.bases, inner.bases[1:], strict=True)))
        return Compressed(inner.core, bases, sum(self.energies), inner.spectra, inner.resolution)

    def _narrow(self) -> None:
        """Keep at most `most` directions of each basis, those with the most energy over the kept snapshots."""
        rows, columns = self.bases
        if rows.shape[1] > self.most:
            turn, _ = leading_eigenvectors(torch.einsum("iab,icb->ac", self.core, self.core), self.most)
            rows, self.core = rows @ turn, torch.einsum("iab,ac->icb", self.core, turn)
        if columns.shape[1] > self.most:
            turn, _ = leading_eigenvectors(torch.einsum("iab,iac->bc", self.core, self.core), self.most)
            columns, self.core = columns @ turn, torch.einsum("iab,bc->iac", self.core, turn)
        self.bases = (rows, columns)


def _widened(basis: Float[Tensor, "size direction"], matrix: Float[Tensor, "size other"]) -> Float[Tensor, "size more"]:
    """The basis with the strongest directions that a matrix has outside it, found by a randomized range finder.

    References:
        Halko, Martinsson & Tropp 2011, https://doi.org/10.1137/090771806, algorithm 4.4 with one power iteration
    """
    room = min(NEW_DIRECTIONS, matrix.shape[0] - basis.shape[1], matrix.shape[1])
    energy = matrix.square().sum()
    if room <= 0 or float(energy) == 0:
        return basis
    outside = matrix - basis @ (basis.T @ matrix)
    generator = torch.Generator().manual_seed(basis.shape[1])
    probes = torch.randn(matrix.shape[1], room, generator=generator, dtype=matrix.dtype).to(matrix.device)
    found = torch.linalg.qr(outside @ (outside.T @ (outside @ probes))).Q
    found = torch.linalg.qr(found - basis @ (basis.T @ found)).Q
    left, values, _ = torch.linalg.svd(found.T @ outside, full_matrices=False)
    new = (found @ left)[:, values.square() > NEW_ENERGY * energy]
    return torch.cat([basis, new], dim=1)  # the old columns as they are: the core is in their coordinates
