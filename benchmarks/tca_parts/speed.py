# SPDX-License-Identifier: Apache-2.0
"""Whole selections against other packages, side by side in one process with the same threads."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tca_parts.peers import (
    Peer,
    PeerFit,
    pyttb_cp,
    tensorly_cp,
    tensorly_hals,
    tensortools_cp,
    tensortools_hals,
)
from torch import Tensor

from lightning_interp.tca import RankSelection, select_rank
from lightning_interp.tca.compress import compress
from lightning_interp.tca.source import Data

RANKS, RESTARTS = tuple(range(1, 11)), 10
REPEATS = 5
TOLERANCE = 1e-5
"""Difference of relative errors that counts as equal."""

CP_PEERS: dict[str, Peer] = {"tensorly parafac": tensorly_cp, "tensortools cp_als": tensortools_cp, "pyttb cp_als": pyttb_cp}
HALS_PEERS: dict[str, Peer] = {"tensorly HALS": tensorly_hals, "tensortools ncp_hals": tensortools_hals}


@dataclass(frozen=True)
class Case:
    """A tensor and how thoroughly to time each peer on it.

    Attributes:
        name: For the table.
        tensor: The data.
        nonnegative: Which algorithms.
        ranks_timed: Ranks at which each peer is timed, one fit each; between them its time is taken as linear in the rank.
    """

    name: str
    tensor: Tensor
    nonnegative: bool
    ranks_timed: dict[str, Sequence[int]]


def selection(
    tensor: Tensor,
    *,
    device: str,
    nonnegative: bool = False,
    heldout: bool,
    ranks: Sequence[int] = RANKS,
    restarts: int = RESTARTS,
) -> tuple[float, RankSelection]:
    """Seconds of one whole selection of a tensor that is on the device, and its result."""
    wait(device)
    started = time.perf_counter()
    found = select_rank(tensor, ranks, restarts=restarts, nonnegative=nonnegative, device=device, heldout=heldout)
    wait(device)
    return time.perf_counter() - started, found


def ours(case: Case, *, device: str, heldout: bool) -> tuple[list[float], RankSelection]:
    """Seconds of repeated whole selections, after one to warm up, and the last one's result."""
    tensor = case.tensor.to(device)
    runs = [selection(tensor, device=device, nonnegative=case.nonnegative, heldout=heldout) for _ in range(REPEATS + 1)]
    return [seconds for seconds, _ in runs[1:]], runs[-1][1]


def measure(case: Case, *, device: str, say: Callable[[str], None]) -> dict[str, Any]:
    """One tensor: our selection, and each peer's extrapolated from single fits."""
    fits_only, found = ours(case, device=device, heldout=False)
    whole, _ = ours(case, device=device, heldout=True)
    errors = {row["rank"]: float(row["relative_error"] or 0) for row in found.table}
    kind = "non-negative CP" if case.nonnegative else "CP"
    say(f"\n{case.name}, {kind}: ranks 1-10 x {RESTARTS} restarts ({len(RANKS) * RESTARTS} fits)")
    say(f"  lightning_interp, fits, similarity, core consistency   {spread(fits_only)}")
    say(f"  lightning_interp, the same with held-out errors        {spread(whole)}")
    rows = {}
    for name, peer in _peers(case, device).items():
        ranks = case.ranks_timed.get(name, ())
        if ranks:
            rows[name] = _against(
                name, [peer(case.tensor.to(device), rank, rank) for rank in ranks], errors, fits_only, whole
            )
            say("  " + rows[name]["line"])
    if device == "cpu":
        rows["tensorly on our core"] = on_core(case, say)
    return {
        "name": case.name,
        "kind": kind,
        "seconds": fits_only,
        "seconds_with_heldout": whole,
        "errors": errors,
        "peers": rows,
    }


def _peers(case: Case, device: str) -> dict[str, Peer]:
    if device == "cpu":
        return HALS_PEERS if case.nonnegative else CP_PEERS
    peer = tensorly_hals if case.nonnegative else tensorly_cp
    return {"tensorly on the same GPU": lambda tensor, rank, seed: peer(tensor, rank, seed, backend="pytorch")}


def _against(
    name: str, fits: list[PeerFit], errors: dict[int, float], fits_only: list[float], whole: list[float]
) -> dict[str, Any]:
    """A peer's time for the whole selection, stopped where it reaches our error, and the ratios to ours."""
    total = selection_seconds(fits, errors)
    lower = lower_at(fits, errors)
    ratio, with_heldout = total / statistics.median(fits_only), total / statistics.median(whole)
    verdict = "our error equal or lower at every rank timed" if not lower else f"PEER LOWER at ranks {lower}"
    ratios = f"{ratio:7.0f} x   ({with_heldout:.0f} x with held-out errors)"
    line = f"{name:<24} {total:8.1f} s (from {len(fits)} fits): {ratios}; {verdict}"
    details = [{"rank": f.rank, "seconds": f.seconds, "sweeps": len(f.errors), "error": f.relative_error} for f in fits]
    return {
        "total": total,
        "ratio": ratio,
        "ratio_with_heldout": with_heldout,
        "lower_at": lower,
        "fits": details,
        "line": line,
    }


def selection_seconds(
    fits: Sequence[PeerFit], errors: Mapping[int, float], *, ranks: Sequence[int] = RANKS, restarts: int = RESTARTS
) -> float:
    """A peer's seconds for the whole selection: every fit until it reaches our error, ranks between interpolated."""
    times = np.interp(ranks, [fit.rank for fit in fits], [fit.seconds_to(errors[fit.rank]) for fit in fits])
    return restarts * float(times.sum())


def lower_at(fits: Sequence[PeerFit], errors: Mapping[int, float]) -> list[int]:
    """Ranks at which a peer's error is lower than ours."""
    return [fit.rank for fit in fits if fit.relative_error < errors[fit.rank] - TOLERANCE]


def on_core(case: Case, say: Callable[[str], None]) -> dict[str, Any]:
    """Tensorly's ALS on our compressed core: what compression alone would give; HALS has no meaning there."""
    started = time.perf_counter()
    core = compress(Data(case.tensor, device="cpu"), tuple(min(12, size) for size in case.tensor.shape)).core
    compression = time.perf_counter() - started
    fits = [tensorly_cp(core.float(), rank, rank) for rank in (2, 5, 8, 10)]
    total = compression + RESTARTS * float(np.interp(RANKS, [f.rank for f in fits], [f.seconds for f in fits]).sum())
    say(f"  tensorly parafac on our 12 x 12 x 12 core {total:.1f} s with the compression (from {len(fits)} fits)")
    return {"total": total, "fits": [{"rank": f.rank, "seconds": f.seconds} for f in fits]}


def restarts_check(case: Case, ranks: Sequence[int], *, say: Callable[[str], None]) -> dict[int, dict[str, float]]:
    """Our best against tensorly's best of ten restarts at some ranks."""
    peer = tensorly_hals if case.nonnegative else tensorly_cp
    _, found = ours(case, device="cpu", heldout=False)
    checked = {}
    for rank in ranks:
        best = min(peer(case.tensor, rank, seed).relative_error for seed in range(RESTARTS))
        checked[rank] = {"ours": found.fits[rank].relative_error, "tensorly": best}
        say(f"  rank {rank}: ours {checked[rank]['ours']:.5f}, tensorly's {best:.5f}")
    return checked


def bandwidth(tensor: Tensor, *, device: str, say: Callable[[str], None]) -> dict[str, float]:
    """The projecting pass over the data against a copy of it, in GB/s of bytes read (a copy reads and writes)."""
    data = Data(tensor, device=device)
    basis = torch.linalg.qr(torch.randn(tensor.shape[0], 12, device=device)).Q
    flat = data.resident.reshape(tensor.shape[0], -1) if data.resident is not None else tensor.reshape(tensor.shape[0], -1)
    size = flat.numel() * flat.element_size() / 1e9
    passes = size / _fastest(lambda: basis.T @ flat, device)
    copy = 2 * size / _fastest(flat.clone, device)
    share = f"{100 * passes / copy:.0f} % of copy bandwidth ({device})"
    say(f"\npass over the data {passes:.0f} GB/s, copy {copy:.0f} GB/s: {share}")
    return {"pass": passes, "copy": copy}


def _fastest(work: Callable[[], object], device: str) -> float:
    times = []
    for _ in range(10):
        wait(device)
        started = time.perf_counter()
        work()
        wait(device)
        times.append(time.perf_counter() - started)
    return min(times)


def spread(seconds: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(seconds):6.3f} s [{min(seconds):.3f} .. {max(seconds):.3f}], {len(seconds)} runs"


def wait(device: str) -> None:
    """Until a GPU has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
