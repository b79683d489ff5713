# SPDX-License-Identifier: Apache-2.0
"""What analyzing checkpoints costs beside reading them: rate, memory, the cost of each further measure, and of workers.

``python benchmarks/checkpoints.py`` makes 2,000 small checkpoints and 20 of 500 MB (10 GB under ``--folder``, removed at
the end) and takes a quarter of an hour. The baseline does what nobody can do without: ``torch.load`` and the forward
of the probe, in a process of its own with one thread, like ours. Rounds of both alternate.
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

from lightning_interp.demo.data import modular_addition_table, unordered_split
from lightning_interp.demo.model import ModularAddition
from lightning_interp.records import Probe, ProbeSplit

COUNTS = {"small": 2000, "few": 300, "large": 20}
"""Checkpoints of each folder; those of ``few`` are small ones, for what would take too long with all."""
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


def baseline(kind: str, folder: Path) -> float:
    """Seconds to read every checkpoint and run the probe through the network, nothing else."""
    torch.set_num_threads(1)
    net, examples = network(kind).eval(), PROBES[kind]()
    began = time.perf_counter()
    for path in sorted(folder.iterdir()):
        net.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
        with torch.no_grad():
            for split in (examples.train, examples.heldout):
                net(split.batches[0][0])
    return time.perf_counter() - began


def ours(kind: str, folder: Path, measures: str, workers: int, engine: str) -> float:
    """Seconds of a whole analysis, from looking through the folder to the timeline."""
    from lightning_interp import analyze_checkpoints

    with tempfile.TemporaryDirectory() as out:
        began = time.perf_counter()
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
        seconds = time.perf_counter() - began
        assert len(found.observed) == COUNTS[kind], found.findings
    return seconds


def in_own_process(*arguments: str) -> dict[str, float]:
    """Run one measurement of this script in a process of its own; its seconds, and its peak memory in MB."""
    command = [sys.executable, __file__, "--one", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def one(what: str, kind: str, folder: str, measures: str = "", workers: str = "1", engine: str = "local") -> None:
    """One measurement; prints it as JSON."""
    if what == "baseline":
        seconds = baseline(kind, Path(folder))
    else:
        seconds = ours(kind, Path(folder), measures, int(workers), engine)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"s": seconds, "mb": peak}))


def compare(kind: str, folder: str) -> None:
    """Alternate both, then add one measure after another."""
    count = COUNTS[kind]
    ratios, rates, memory = [], [], []
    for _ in range(ROUNDS):
        alone = in_own_process("baseline", kind, folder)
        here = in_own_process("ours", kind, folder, MEASURES[0])
        ratios.append(alone["s"] / here["s"])
        rates.append((count / alone["s"], count / here["s"]))
        memory.append((alone["mb"], here["mb"]))
    alone, found = median(alone for alone, _ in rates), median(ours for _, ours in rates)
    print(f"{kind}, {count} checkpoints, {MEASURES[0]}: {found:.2f} a second; reading and forward alone {alone:.2f}")
    print(f"  rate {median(ratios):.0%} of reading and forward alone [{min(ratios):.0%} .. {max(ratios):.0%}]")
    print(f"  peak memory {median(m for _, m in memory):.0f} MB, alone {median(m for m, _ in memory):.0f} MB")


def further(kind: str, folder: str) -> None:
    """What each further measure costs."""
    plain = in_own_process("ours", kind, folder, MEASURES[0])["s"]
    for measure in MEASURES[1:]:
        if kind == "large" and measure == "weight_spectra":
            continue  # the singular values of 11,000 x 11,000 numbers take minutes a checkpoint
        seconds = in_own_process("ours", kind, folder, f"{MEASURES[0]},{measure}")["s"]
        print(f"  {kind}, with {measure}: {1e3 * (seconds - plain) / COUNTS[kind]:+.1f} ms a checkpoint")


def workers(kind: str, folder: str) -> None:
    """One worker against two, in processes of this machine and by Ray."""
    for engine in ("local", "ray"):
        seconds = {
            n: [in_own_process("ours", kind, folder, "standard", str(n), engine)["s"] for _ in range(ROUNDS)] for n in (1, 2)
        }
        gains = [a / b for a, b in zip(seconds[1], seconds[2], strict=True)]
        spread = f"[{min(gains):.2f} .. {max(gains):.2f}]"
        print(f"{kind}, standard measures, {engine}: two workers {median(gains):.2f} times one {spread}")


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
                write(kind, folder / kind)
                compare(kind, str(folder / kind))
        write("few", folder / "few")
        if "measures" in args.sections:
            for kind in ("few", "large") if "large" in args.sections else ("few",):
                further(kind, str(folder / kind))
        if "workers" in args.sections:
            workers("few", str(folder / "few"))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
