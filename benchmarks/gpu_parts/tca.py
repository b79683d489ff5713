# SPDX-License-Identifier: Apache-2.0
"""Tensor component analysis on the GPU against tensorly on the same GPU: a whole rank selection, and following a run."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping

import torch
from gpu_parts.rows import Row, repeated, verdict_of
from gpu_parts.setting import Part, Setting
from tca_parts import speed
from tca_parts.peers import PeerFit, tensorly_cp, true_error
from tca_parts.tensors import training_like
from torch import Tensor

from lightning_interp.tca import OnlineTCA

REPEATS = 5
HISTORY = 64
"""Snapshots of the run that is followed; all of them are kept."""
FOLLOWING = 0.01
"""Share that a followed run's relative error may lie above a fit of the whole tensor: what a snapshot had outside the bases
when it came is lost to the fit, and counted in its error."""


def selection(setting: Setting) -> Iterator[Row]:
    """Ranks 1 to 10 with 10 restarts each; tensorly's fits count until the sweep at which they reach our error."""
    shape, ranks, restarts = (
        ((12, 16, 20), (1, 2, 3), 2) if setting.quick else ((100, 256, 512), speed.RANKS, speed.RESTARTS)
    )
    tensor = training_like(shape, 8, noise=0.08, seed=0, nonnegative=False).tensor.to(setting.device)
    name = f"{ranks[0]}-{ranks[-1]} x {restarts} of {'x'.join(map(str, shape))}"
    sizes = {"ranks": ranks, "restarts": restarts}
    _, found = speed.selection(tensor, device=setting.device, heldout=False, **sizes)  # once to warm up, for both
    tensorly_cp(tensor, ranks[0], 0, backend="pytorch")
    errors = {row["rank"]: float(row["relative_error"] or 0) for row in found.table}
    ours: list[float] = []
    theirs: list[float] = []
    fits: list[PeerFit] = []
    repeats = 2 if setting.quick else REPEATS
    for repeat in setting.budget.rounds(repeats, least=2, share=0.55):
        ours.append(speed.selection(tensor, device=setting.device, heldout=False, **sizes)[0])
        now = [tensorly_cp(tensor, rank, 100 * repeat + rank, backend="pytorch") for rank in ranks]
        theirs.append(speed.selection_seconds(now, errors, **sizes))
        fits += now
    yield repeated(f"selection {name}, fits and similarity", ours, "s", wanted=repeats)
    heldout = [
        speed.selection(tensor, device=setting.device, heldout=True, **sizes)[0]
        for _ in setting.budget.rounds(repeats + 1, least=2, share=0.3)
    ]
    yield repeated(f"selection {name}, with held-out errors", heldout[1:], "s", wanted=repeats)
    told = f"{restarts} x one fit at each rank, until it reaches our error; at most 100 sweeps"
    yield repeated(f"tensorly parafac, {name}", theirs, "s", wanted=repeats, note=told)
    yield ratio(f"tensorly / ours, selection {name}", theirs, ours, wanted=repeats, claimed=not setting.quick)
    yield errors_row(fits, errors)


def errors_row(fits: list[PeerFit], errors: Mapping[int, float]) -> Row:
    """How far our relative error lies above tensorly's where it does so most."""
    excess = {fit.rank: errors[fit.rank] - fit.relative_error for fit in sorted(fits, key=lambda fit: -fit.relative_error)}
    worst = max(excess, key=lambda rank: excess[rank])
    aim, lower = f"<= {speed.TOLERANCE:g} at every rank", sorted(set(speed.lower_at(fits, errors)))
    note = f"rank {worst}, the best of {len(fits) // len(errors)} random starts of tensorly's; ours {errors[worst]:.5f}"
    found = f"; tensorly's is lower at ranks {lower}" if lower else ""
    return Row("our relative error less tensorly's", excess[worst], "", "", aim, verdict_of(not lower), note + found)


def ratio(name: str, theirs: list[float], ours: list[float], *, wanted: int, claimed: bool) -> Row:
    """Median and range of the ratios of neighbours in time."""
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    held = statistics.median(ratios) > 1 if claimed else None
    return repeated(name, ratios, "x", wanted=wanted, aim="> 1" if claimed else "", held=held)


def following(setting: Setting) -> Iterator[Row]:
    """One update of a followed run, folding in and refitting ranks 1 to 8, against one fit of tensorly's of what is kept."""
    history, units = (8, (12, 16)) if setting.quick else (HISTORY, (256, 512))
    repeats = 2 if setting.quick else REPEATS
    tensor = training_like((history + repeats + 1, *units), 6, noise=0.08, seed=0, nonnegative=False).tensor
    tensor = tensor.to(setting.device)
    online = OnlineTCA(range(1, 4 if setting.quick else 9), device=setting.device, history=history)
    for step in range(history + 1):  # the last one and its refit warm up
        online.add(step, tensor[step])
        if step in (history // 2, history - 1, history):
            online.refit()
    folding: list[float] = []
    refitting: list[float] = []
    theirs: list[float] = []
    excess: list[float] = []
    for repeat in setting.budget.rounds(repeats, least=2):
        step = history + 1 + repeat
        folding.append(_timed(setting, lambda step=step: online.add(step, tensor[step])))
        refitting.append(_timed(setting, online.refit))
        fit = online.fit
        assert fit is not None, "a refit leaves a fit"
        kept = tensor[list(online.fit_steps)]
        peer = tensorly_cp(kept, fit.rank, repeat, backend="pytorch")
        error = true_error(kept, fit.cp_weights.cpu().numpy(), [factor.cpu().numpy() for factor in fit.factors])
        theirs.append(1e3 * peer.seconds_to(error))
        excess.append(error / peer.relative_error - 1)
    name = f"{history} snapshots of {units[0]}x{units[1]}"
    yield repeated(f"fold a snapshot in, {name}", folding, "ms", wanted=repeats)
    yield repeated(
        f"refit ranks 1-{8 if not setting.quick else 3} x 5 restarts and warm starts, {name}",
        refitting,
        "ms",
        wanted=repeats,
    )
    yield repeated(f"tensorly parafac, one fit of rank {fit.rank}, {name}", theirs, "ms", wanted=repeats)
    update = [add + refit for add, refit in zip(folding, refitting, strict=True)]
    yield ratio("tensorly's one fit / our whole update", theirs, update, wanted=repeats, claimed=False)
    held = None if setting.quick else max(excess) <= FOLLOWING
    yield repeated(
        "relative error after the update above tensorly's",
        [100 * e for e in excess],
        "%",
        wanted=repeats,
        aim=f"<= {100 * FOLLOWING:.0f}",
        held=held,
    )


def _timed(setting: Setting, work: Callable[[], object]) -> float:
    """Milliseconds until the device has done it."""
    speed.wait(setting.device)
    started = time.perf_counter()
    work()
    speed.wait(setting.device)
    return 1e3 * (time.perf_counter() - started)


def agreement(setting: Setting) -> Iterator[Row]:
    """The same selection on the CPU: the same errors, the same rank."""
    tensor: Tensor = training_like((30, 40, 50), 3, noise=0.1, seed=1, nonnegative=False).tensor
    ranks = (1, 2, 3, 4, 5)
    there, here = (
        speed.selection(tensor.to(device), device=device, heldout=True, ranks=ranks)[1] for device in (setting.device, "cpu")
    )
    apart = max(abs(there.fits[rank].relative_error / here.fits[rank].relative_error - 1) for rank in ranks)
    # other orders of addition in some hundred sweeps that end at a relative change of 1e-6, as in tests/tca/test_gpu.py
    held = apart <= 1e-4 and there.recommended == here.recommended
    told = f"recommended ranks {there.recommended} and {here.recommended}, ranks 1-5 of 30x40x50"
    yield Row(
        "relative errors against the CPU's, largest share apart",
        apart,
        aim="<= 1e-4, same rank",
        verdict=verdict_of(held),
        note=told,
    )
    assert torch.device(setting.device).type == there.fits[1].factors[0].device.type, "fits stay where they were computed"


PARTS: dict[str, Part] = {"agreement with the CPU": agreement, "selection": selection, "following a run": following}
