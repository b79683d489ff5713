# SPDX-License-Identifier: Apache-2.0
"""What analyzing checkpoints costs beside reading them: rate, memory, the cost of each further measure, and of workers.

``python benchmarks/checkpoints.py`` makes 2,000 small checkpoints and 20 of 490 MB (10 GB under ``--folder``, removed at
the end) and takes most of an hour. The baseline does what nobody can do without: ``torch.load`` and the forward
of the probe, in a process of its own with one thread, like ours. Rounds of both alternate. Beside seconds, which other
work on the machine lengthens, stands the time of processors.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from torch import nn

from lightning_interp.core.records import Probe, ProbeSplit
from lightning_interp.demo.data import modular_addition_table, unordered_split
from lightning_interp.demo.model import ModularAddition

COUNTS = {"small": 2000, "few": 300, "large": 20}
"""Checkpoints of each folder; those of ``few`` are small ones, for what each further measure costs."""
P = 53
WIDTH, EXAMPLES = 11_000, 128
ROUNDS = 3
SECTIONS = ("small", "large", "measures", "workers")
MEASURES = (
    "losses,norms",
    "score_margin",
    "heldout_percentile",
    "activation_sparsity",
    "weight_spectra",
    "activation_spectra",
    "weight_sketch",
)


def network(kind: str) -> nn.Module:
    """The transformer of the grokking papers for addition modulo 53 (.8 MB), or a perceptron of 490 MB."""
    if kind != "large":
        return ModularAddition(P, d_model=128, lr=1e-3, weight_decay=1.0)
    return nn.Sequential(nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 64))


def build_small() -> nn.Module:
    """Factory of the small network."""
    return network("small")


build_few = build_small


def build_large() -> nn.Module:
    """Factory of the large network."""
    return network("large")


def probe_small() -> Probe:
    """All pairs, as a monitor with a task keeps them: 30 % to train on."""
    pairs, sums = modular_addition_table(P)
    train = unordered_split(P, fraction=0.3, seed=0)
    return Probe(ProbeSplit(((pairs[train], sums[train]),)), ProbeSplit(((pairs[~train], sums[~train]),)))


def probe_large() -> Probe:
    """Some examples of each split."""
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(2 * EXAMPLES, 64, generator=draw), torch.randint(64, (2 * EXAMPLES,), generator=draw)
    return Probe(ProbeSplit(((x[:EXAMPLES], y[:EXAMPLES]),)), ProbeSplit(((x[EXAMPLES:], y[EXAMPLES:]),)))


PROBES = {"small": probe_small, "few": probe_small, "large": probe_large}


def write(kind: str, folder: Path) -> None:
    """Checkpoints of a drifting network, as Lightning would name them."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    net = network(kind)
    for number in range(COUNTS[kind]):
        with torch.no_grad():
            first = next(net.parameters())
            first.add_(1e-3 * torch.randn_like(first))
        torch.save({"state_dict": net.state_dict(), "global_step": number, "epoch": 0}, folder / f"step={number}.ckpt")


def made(kind: str, folder: Path) -> None:
    """Write the checkpoints of a kind once."""
    if not (folder / kind).exists():
        write(kind, folder / kind)


class Clock:
    """Seconds since it was made: on the wall, and of processors."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Both by name."""
        return {"s": time.perf_counter() - self._wall, "cpu": time.process_time() - self._cpu}


def baseline(kind: str, folder: Path) -> dict[str, float]:
    """Seconds to read every checkpoint and run the probe through the network, nothing else."""
    torch.set_num_threads(1)
    net, examples = network(kind).eval(), PROBES[kind]()
    clock = Clock()
    for path in sorted(folder.iterdir()):
        net.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
        with torch.no_grad():
            for split in (examples.train, examples.heldout):
                net(split.batches[0][0])
    return clock.read()


def ours(kind: str, folder: Path, measures: str, workers: int, engine: str) -> dict[str, float]:
    """Seconds of a whole analysis, from looking through the folder to the timeline."""
    from lightning_interp import analyze_checkpoints

    with tempfile.TemporaryDirectory() as out:
        clock = Clock()
        found = analyze_checkpoints(
            folder,
            out=Path(out) / "run",
            module=f"checkpoints:build_{kind}",
            probe=PROBES[kind],
            measures=measures.split(","),
            layers="1" if kind == "large" else "mlp_act",
            workers=workers,
            engine=engine,
            device="cpu",
        )
        taken = clock.read()
        assert len(found.observed) == COUNTS[kind], found.findings
    return taken


def in_own_process(*arguments: str) -> dict[str, float]:
    """Run one measurement of this script in a process of its own; its seconds, and its peak memory in MB."""
    command = [sys.executable, __file__, "--one", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def one(what: str, kind: str, folder: str, measures: str = "", workers: str = "1", engine: str = "local") -> None:
    """One measurement; prints it as JSON."""
    alone = what == "baseline"
    taken = baseline(kind, Path(folder)) if alone else ours(kind, Path(folder), measures, int(workers), engine)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(taken | {"mb": peak}))


def compare(kind: str, folder: str) -> None:
    """Alternate both, then add one measure after another."""
    count = COUNTS[kind]
    rounds = [
        (in_own_process("baseline", kind, folder), in_own_process("ours", kind, folder, MEASURES[0])) for _ in range(ROUNDS)
    ]
    alone, found = (median(count / each["s"] for each in column) for column in zip(*rounds, strict=True))
    print(f"{kind}, {count} checkpoints, {MEASURES[0]}: {found:.2f} a second; reading and forward alone {alone:.2f}")
    for unit, name in (("s", "rate"), ("cpu", "the same by time of processors:")):
        ratios = [alone[unit] / here[unit] for alone, here in rounds]
        spread = f"[{min(ratios):.0%} .. {max(ratios):.0%}]"
        print(f"  {name} {median(ratios):.0%} of reading and forward alone {spread}")
    peaks = [median(each["mb"] for each in column) for column in zip(*rounds, strict=True)]
    print(f"  peak memory {peaks[1]:.0f} MB, alone {peaks[0]:.0f} MB", flush=True)


def further(kind: str, folder: str) -> None:
    """What each further measure costs, in time of processors: waiting for a core would drown it."""
    # The singular values of 11,000 x 11,000 numbers take minutes a checkpoint.
    added = [measure for measure in MEASURES[1:] if kind != "large" or measure != "weight_spectra"]
    costs: dict[str, list[float]] = {measure: [] for measure in added}
    for _ in range(ROUNDS):
        plain = in_own_process("ours", kind, folder, MEASURES[0])["cpu"]
        for measure in added:
            cpu = in_own_process("ours", kind, folder, f"{MEASURES[0]},{measure}")["cpu"]
            costs[measure].append(1e3 * (cpu - plain) / COUNTS[kind])
    for measure, found in costs.items():
        spread = f"[{min(found):+.1f} .. {max(found):+.1f}]"
        print(f"  {kind}, with {measure}: {median(found):+.1f} ms a checkpoint {spread}", flush=True)


def workers(kind: str, folder: str) -> None:
    """One worker against two, in processes of this machine and by Ray."""
    for engine in ("local", "ray"):
        seconds = {
            n: [in_own_process("ours", kind, folder, "standard", str(n), engine)["s"] for _ in range(ROUNDS)] for n in (1, 2)
        }
        gains = [a / b for a, b in zip(seconds[1], seconds[2], strict=True)]
        spread = f"[{min(gains):.2f} .. {max(gains):.2f}]"
        shown = ", ".join(f"{n}: {median(found):.1f} s" for n, found in seconds.items())
        print(f"{kind}, standard measures, {engine}: {shown}; two workers {median(gains):.2f} times one {spread}")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", default=SECTIONS, choices=SECTIONS)
    parser.add_argument("--folder", type=Path, help="where the checkpoints go (default: a temporary folder)")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(*args.one)
        return
    folder = Path(tempfile.mkdtemp(prefix="interp-", dir=args.folder))
    try:
        for kind in ("small", "large"):
            if kind in args.sections:
                made(kind, folder)
                compare(kind, str(folder / kind))
        if "measures" in args.sections:
            for kind in ("few", "large") if "large" in args.sections else ("few",):
                made(kind, folder)
                further(kind, str(folder / kind))
        if "workers" in args.sections:
            made("small", folder)
            workers("small", str(folder / "small"))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
