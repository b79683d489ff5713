# SPDX-License-Identifier: Apache-2.0
"""What chance alone would give: tensors without lasting units, and labels permuted over stimuli."""

from dataclasses import dataclass

import torch

from lightning_interp.core.shapes import Float, Float64, Int, Shaped, Tensor
from lightning_interp.tca.checks import check_activations, check_whole

_CHUNK_ENTRIES = 2**21
_ROUNDING = 1e-9


def shuffle_units(tensor: Shaped[Tensor, "..."], *, seed: int = 0) -> Float[Tensor, "snapshot stimulus unit"]:
    """The tensor with its unit labels permuted independently in each snapshot: no unit lasts from one to the next.

    Within a snapshot everything stays (norm, stimulus similarities, singular values), so a CP fit that is no better on the
    activations than on this has found nothing that persists in units.

    Args:
        tensor: Activations (snapshot, stimulus, unit), finite.
        seed: Seed of the permutations, which are drawn on the CPU and so are the same for every device.

    Raises:
        ShapeError: Wrong or empty axes, integers, NaN or infinity.
        ConfigError: `seed` is not an integer of 0 or more.
    """
    check_activations(tensor, caller="shuffle_units")
    check_whole(seed, "seed", least=0, caller="shuffle_units")
    snapshots, _, units = tensor.shape
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(snapshots, units, dtype=torch.float64, generator=generator).argsort(dim=1).to(tensor.device)
    return tensor.gather(2, order[:, None, :].expand(tensor.shape))


@dataclass(frozen=True)
class GroupLoadings:
    """How much each group of stimuli loads on each component, and how much it would by chance.

    Attributes:
        means: Mean magnitude in each group, in the unit of the magnitudes.
        z: (mean - mean under the null) / standard deviation under the null, both exact; 0 where the null leaves no choice.
        null_z: The same for each permutation.
    """

    means: Float64[Tensor, "component group"]
    z: Float64[Tensor, "component group"]
    null_z: Float64[Tensor, "permutation component group"]


def group_loadings(
    magnitudes: Float64[Tensor, "stimulus component"],
    groups: Int[Tensor, " stimulus"],
    strata: Int[Tensor, " stimulus"],
    *,
    permutations: int,
    generator: torch.Generator,
) -> GroupLoadings:
    """Mean magnitude of each group, against group labels permuted over the stimuli of one stratum.

    Under the null hypothesis the labels of a stratum's stimuli can be exchanged, whatever the loadings are and however they
    depend on each other. All components share each permutation, so that maxima over them are valid. The mean and the
    variance of a group's mean over all permutations are known: with n_h of its n stimuli in stratum h, of size N_h, mean
    m_h and variance s_h² (divisor N_h - 1), they are sum n_h m_h / n and sum n_h (1 - n_h / N_h) s_h² / n².

    Args:
        magnitudes: None negative.
        groups: Group of each stimulus, 0 to G - 1, none empty.
        strata: Stratum of each stimulus, 0 to H - 1, none empty.
        permutations: Number of random permutations.
        generator: Source of the permutations; on the CPU.

    References:
        Variance of a mean without replacement: Cochran 1977, Sampling Techniques, theorem 2.2
    """
    order = strata.argsort(stable=True)
    values, blocks = magnitudes[order], strata[order]
    member = torch.nn.functional.one_hot(groups[order]).double()
    member = member / member.sum(dim=0)
    center, spread = _exact_moments(values, member, torch.nn.functional.one_hot(blocks).double())
    usable = spread > _ROUNDING * values.abs().amax(dim=0)[:, None]

    def standardized(means: Tensor) -> Tensor:
        return torch.where(usable, (means - center) / torch.where(usable, spread, 1), 0)

    drawn = []
    for start in range(0, permutations, rows := max(1, _CHUNK_ENTRIES // values.numel())):
        keys = torch.rand(min(rows, permutations - start), len(values), dtype=torch.float64, generator=generator)
        mixed = (keys + blocks).argsort(dim=1)  # keys lie in [0, 1): nothing leaves its stratum
        drawn.append(standardized(torch.einsum("psr,sg->prg", values[mixed], member)))
    means = values.T @ member
    return GroupLoadings(means, standardized(means), torch.cat(drawn))


def _exact_moments(
    values: Float64[Tensor, "stimulus component"],
    member: Float64[Tensor, "stimulus group"],
    stratum: Float64[Tensor, "stimulus stratum"],
) -> tuple[Float64[Tensor, "component group"], Float64[Tensor, "component group"]]:
    """Mean and standard deviation of every group mean over all permutations within strata."""
    sizes = stratum.sum(dim=0)
    means = stratum.T @ values / sizes[:, None]
    squares = stratum.T @ (values - stratum @ means).square()
    variances = squares / (sizes - 1).clamp_min(1)[:, None]
    share = stratum.T @ member  # n_h / n, with member = 1 / n on a group's stimuli
    counts = stratum.T @ (member > 0).double()
    weights = share.square() / counts.clamp_min(1) * (1 - counts / sizes[:, None])
    return means.T @ share, (variances.T @ weights).sqrt()


def adjusted_p_values(observed: Float64[Tensor, "..."], null: Float64[Tensor, "..."]) -> Float64[Tensor, "..."]:
    """P-values of many tests at once, adjusted so that the chance of any false alarm is at most the level.

    Holm's step-down procedure in its permutation form: the largest statistic is compared with the largest of all under each
    permutation, the next one with the largest of the rest, and so on; p = (1 + count) / (1 + permutations). Plain Holm on
    counted p-values could not report anything once there are more tests than .05 (1 + permutations); this form can, and
    it uses that tests are correlated. Exact where nothing loads at all; where something does, as far as the tests of
    what does not keep their null distribution.

    Args:
        observed: Statistics of any shape, large where the null is false.
        null: The same under each permutation, permutations first.

    Returns:
        In the shape of `observed`.

    References:
        Westfall & Young 1993, Resampling-Based Multiple Testing, algorithm 2.8; Phipson & Smyth 2010,
        https://doi.org/10.2202/1544-6115.1585 for the 1 + count
    """
    flat = observed.flatten()
    order = flat.argsort(descending=True, stable=True)
    rest = null.flatten(1)[:, order].flip(1).cummax(dim=1).values.flip(1)
    count = (rest >= flat[order] - _ROUNDING).sum(dim=0)  # equal sums in another order differ by rounding
    stepped = ((1 + count).double() / (1 + len(null))).cummax(dim=0).values
    return torch.empty_like(flat).scatter(0, order, stepped).reshape(observed.shape)
