# SPDX-License-Identifier: Apache-2.0
"""What tensor component analysis claims: right, fast, and how its cost grows.

Sections, all by default: ``correct`` (planted factors, agreement with tensorly), ``speed`` (whole selections, ranks 1-10
with 10 restarts, against tensorly, tensortools and pyttb, on planted tensors and on real activations), ``growth`` (time
and memory against each size, and the cost of following a run).

    python benchmarks/tca.py                          about 20 minutes on two cores, most of them the peers'
    python benchmarks/tca.py --sections correct growth
    python benchmarks/tca.py --device cuda --sections speed

How peers are timed: one fit each at some ranks with the package's default tolerance, random start and 100 sweeps; a fit
counts until the sweep at which its error reached ours; ranks between are interpolated, and ten restarts are ten times
one. Everything in one process, with as many threads for all.
"""

import argparse
import json
import platform
import warnings
from pathlib import Path
from typing import Any

import tensorly
import torch
from tca_parts import correctness, growth, speed
from tca_parts.tensors import gaussian, mlp_activations, training_like
from threadpoolctl import threadpool_limits

SECTIONS = ("correct", "speed", "growth")


def cases(*, quick: bool) -> list[speed.Case]:
    """The tensors, and the ranks at which each peer is timed on them."""
    all_ranks, some, few = tuple(range(1, 11)), (2, 6, 10), (4, 10)
    small, large = (100, 256, 512), (200, 512, 1024)
    cp = {"tensorly parafac": all_ranks, "tensortools cp_als": some, "pyttb cp_als": few}
    nonnegative = {"tensorly HALS": all_ranks, "tensortools ncp_hals": some}
    sparse_cp = {"tensorly parafac": few}
    sparse_nn = {"tensorly HALS": few, "tensortools ncp_hals": (6,)}
    name = "planted, training-like 100x256x512"
    found = [
        speed.Case(name, training_like(small, 8, noise=0.08, seed=0, nonnegative=False).tensor, False, cp),
        speed.Case(name, training_like(small, 8, noise=0.08, seed=0, nonnegative=True).tensor, True, nonnegative),
    ]
    if quick:
        return found
    activations = mlp_activations()
    shape = "x".join(str(size) for size in activations.shape)
    easy = gaussian(small, 8, noise=0.08, seed=0).tensor
    return [
        *found,
        speed.Case(
            f"real MLP activations {shape}", activations, False, {**cp, "tensorly parafac": some, "tensortools cp_als": few}
        ),
        speed.Case(f"real MLP activations {shape}", activations, True, {**nonnegative, "tensorly HALS": some}),
        speed.Case("planted, independent Gaussian 100x256x512 (the easy case)", easy, False, {"tensorly parafac": some}),
        speed.Case(
            "planted, training-like 200x512x1024",
            training_like(large, 8, noise=0.08, seed=0, nonnegative=False).tensor,
            False,
            sparse_cp,
        ),
        speed.Case(
            "planted, training-like 200x512x1024",
            training_like(large, 8, noise=0.08, seed=0, nonnegative=True).tensor,
            True,
            sparse_nn,
        ),
    ]


def say(line: str) -> None:
    """Print at once: a benchmark is watched."""
    print(line, flush=True)


def main() -> None:
    """Measure, print tables, write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda for ours and tensorly's pytorch backend")
    parser.add_argument("--threads", type=int, default=2, help="for every package (default: 2)")
    parser.add_argument("--quick", action="store_true", help="only the two small planted tensors")
    parser.add_argument("--json", type=Path, help="write every number to this file")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    machine = torch.cuda.get_device_name() if options.device != "cpu" else platform.machine()
    say(f"{machine}, {options.threads} threads, torch {torch.__version__}, tensorly {tensorly.__version__}")
    with threadpool_limits(options.threads):
        results = measured(options)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """The sections asked for."""
    results: dict[str, Any] = {}
    if "correct" in options.sections:
        say("\nplanted factors, 60 x 80 x 100, ranks 2-7, sparse and collinear ones among them")
        signs = (False, True)
        results["recovery"] = [correctness.recovery(nonnegative=sign, device=options.device, say=say) for sign in signs]
        results["agreement"] = [correctness.agreement(nonnegative=sign, say=say) for sign in signs]
    if "speed" in options.sections:
        found = cases(quick=options.quick)
        results["speed"] = [speed.measure(case, device=options.device, say=say) for case in found]
        results["bandwidth"] = speed.bandwidth(found[0].tensor, device=options.device, say=say)
        if options.device == "cpu":
            say("\nbest of ten restarts, on the small planted tensors")
            results["restarts"] = [speed.restarts_check(case, (8,), say=say) for case in found[:2]]
    if "growth" in options.sections:
        results["growth"] = [growth.table(nonnegative=sign, say=say) for sign in (False, True)]
        results["online"] = growth.online(say=say)
    return results


if __name__ == "__main__":
    main()
