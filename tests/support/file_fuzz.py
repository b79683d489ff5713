# SPDX-License-Identifier: Apache-2.0
"""Seeded changes of real files, and what the package says of each: an answer, an error of its own, or a fault.

    python -m file_fuzz {metrics|checkpoints|runs} --count 2000     # tests/support on PYTHONPATH
    python -m file_fuzz metrics --first 17 --count 1 --keep FOLDER

Input number N is the same wherever it is made of the same seeds (`--seeds` keeps them: W&B and run directories write down
times). Files begin as their own writers leave them (`fuzz_seeds`), and are changed inside and outside (`fuzz_changes`,
`fuzz_formats`). Beside answers and faults a run of it prints the slowest inputs, the largest, and which lines of the
package's readers were run.
"""

import argparse
import contextlib
import io
import random
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import fuzz_changes
import fuzz_formats
import fuzz_seeds
from fuzz_changes import Change
from fuzz_workers import Job, Outcome, go_through

GOOD = ("answered", "refused in part", "refused")
"""What may become of an input; all else is a fault."""
UNREAD = ("damaged", "not_read", "failed", "no_key")
"""Kinds of findings on checkpoints that were not understood; others are on what was read."""
ROOMS = {
    "metrics": ("lightning_interp.sources.metrics",),
    "checkpoints": ("lightning_interp.sources.checkpoints",),
    "runs": ("lightning_interp.store",),
}
"""Packages whose coverage is printed."""


def changes_for(path: Path) -> tuple[Change, ...]:
    """Ways to change a file of this kind; those of bytes alone are the rarest, as few files outlive them."""
    few = (fuzz_changes.flip_bits, random.Random(path.name).choice(fuzz_changes.BYTES))
    if path.suffix in (".csv", ".tsv") or path.parent.name == "metrics":
        return (*fuzz_changes.ROWS, *few)
    if path.suffix == ".jsonl":
        return (*fuzz_changes.LINES, *fuzz_changes.LINES, fuzz_changes.other_encoding, *fuzz_changes.BYTES)
    if path.suffix == ".json":
        return (*fuzz_changes.JSON, *fuzz_changes.JSON, fuzz_changes.other_encoding, *few)
    if path.suffix in (".pt", ".ckpt", ".bin"):
        return (*fuzz_formats.TORCH, *few)
    if path.suffix == ".safetensors":
        return (*fuzz_formats.SAFETENSORS, *few)
    if ".tfevents." in path.name or path.suffix == ".wandb":
        inside = fuzz_formats.wandb_log if path.suffix == ".wandb" else fuzz_formats.events
        return (inside, inside, inside, *few)
    return fuzz_changes.BYTES


def make_input(kind: str, number: int, seeds: Path, folder: Path) -> tuple[Path, list[str]]:
    """Make input `number` in a folder; returns what is given to the package, and what was changed."""
    rng = random.Random(f"{kind}/{number}")
    chosen = rng.choice(sorted(seeds.iterdir()))
    target = folder / chosen.name
    shutil.copytree(chosen, target) if chosen.is_dir() else shutil.copy(chosen, target)
    done: list[str] = []
    for _ in range(rng.choice((1, 1, 2, 4))):
        files = sorted(each for each in target.rglob("*") if each.is_file()) if target.is_dir() else [target]
        if kind != "checkpoints":  # each kind of file as often: most files of a run are tensors
            sort = rng.choice(sorted({each.suffix for each in files}) or [""])
            files = [each for each in files if each.suffix == sort]
        path = rng.choice(files or [target])
        if not path.is_file():
            continue
        if target.is_dir() and rng.random() < 0.12:
            done.append(f"{path.relative_to(folder)}: {_other_place(path, kind, rng)}")
            continue
        change = rng.choice(changes_for(path))
        data = path.read_bytes()
        path.write_bytes(change(data, rng))
        done.append(f"{path.relative_to(folder)}: {change.__name__}")
    return target, done


def _other_place(path: Path, kind: str, rng: random.Random) -> str:
    """Another name for a file, or something else under its name."""
    from damaged_run import PLACES

    if rng.random() < 0.5:
        name = rng.choice(sorted(PLACES))
        PLACES[name](path)
        return name
    steps = (
        f"step_{2**63:09d}",
        "step_-1",
        "step=1e3",
        "step_000000003",
        "epoch_2",
        "rank_0",
        "mp_rank_00",
        "last",
        "best-v1",
    )
    odd = [each for each in fuzz_changes.ODD if "/" not in each and "\0" not in each and len(each.encode()) < 200]
    name = rng.choice((*steps, *odd)) + rng.choice((path.suffix, path.suffix, ".pt", ""))
    if name in ("", ".", ".."):
        return "kept"
    renamed = path.with_name(name)
    path.replace(renamed) if not renamed.is_dir() else path.unlink()
    return f"named {renamed.name!a}"


def answer_metrics(path: Path, _folder: Path) -> str:
    """What ``lightning-interp phases FILE`` does."""
    from lightning_interp.cli.main import build_parser

    for words in (["phases", str(path)], ["phases", str(path), "--json"]):
        args = build_parser(words).parse_args(words)
        args.run(args)
    return "answered"


def answer_checkpoints(path: Path, folder: Path) -> str:
    """What ``lightning-interp analyze FOLDER`` does, of one measure of the weights."""
    from lightning_interp.posthoc.checkpoint_analysis import analyze_checkpoints

    done = analyze_checkpoints(path, out=folder / "out", measures="norms", device="cpu")
    unread = any(finding.left_out and finding.kind in UNREAD for finding in done.findings)
    return "refused in part" if unread else "answered"


def answer_runs(path: Path, folder: Path) -> str:
    """What every command says that reads a run directory."""
    from lightning_interp.cli.main import build_parser
    from lightning_interp.core.errors import InterpError

    words = {
        "status": ["status", path],
        "status --json": ["status", path, "--json"],
        "phases": ["phases", path],
        "export": ["export", path, "-o", folder / "table.csv", "--overwrite"],
        "compare": ["compare", path, folder / "whole"],
        "report": ["report", path, "-o", folder / "report"],
        "tca": ["tca", path, "--ranks", "1", "--restarts", "1"],
    }
    codes = {}
    for name, given in words.items():
        arguments = list(map(str, given))
        try:
            args = build_parser(arguments).parse_args(arguments)
            codes[name] = args.run(args)
        except InterpError:
            codes[name] = 2
        except Exception as err:
            err.add_note(name)
            raise
    if odd := {name: code for name, code in codes.items() if code not in (0, 1, 2)}:
        raise AssertionError(f"exit codes {odd}")
    return "answered" if not any(codes.values()) else "refused" if all(codes.values()) else "refused in part"


KINDS: dict[str, tuple[Callable[[Path], None], Callable[[Path, Path], str]]] = {
    "metrics": (fuzz_seeds.make_metrics, answer_metrics),
    "checkpoints": (fuzz_seeds.make_checkpoints, answer_checkpoints),
    "runs": (fuzz_seeds.make_runs, answer_runs),
}


def outcome_of(answer: Callable[[Path, Path], str], given: Path, folder: Path) -> str:
    """``answered``, ``refused``, ``refused in part``, or a fault by its type and place; warnings are faults."""
    from lightning_interp.core.errors import InterpError

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("error")
        for of_others in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning):
            warnings.simplefilter("ignore", of_others)
        try:
            return answer(given, folder)
        except InterpError:
            return "refused"
        except (Exception, SystemExit) as err:
            frames = [each for each in traceback.extract_tb(err.__traceback__) if "lightning_interp/" in each.filename]
            place = f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else "?"
            return f"{type(err).__name__} in {place}{''.join(f' ({note})' for note in getattr(err, '__notes__', ()))}"


def answerer(kind: str, seeds: Path) -> Callable[[int], str]:
    """For a worker: from the number of an input to what became of it. Each seed is answered once before, to warm up."""
    import torch

    torch.set_num_threads(1)
    answer = KINDS[kind][1]
    for seed in sorted(seeds.iterdir()):
        with tempfile.TemporaryDirectory() as folder:
            said = _in_folder(answer, seed, seeds, Path(folder))
            assert said == "answered", f"{seed.name}, unchanged: {said}"

    def answered(number: int) -> str:
        with tempfile.TemporaryDirectory() as folder:
            given, _ = make_input(kind, number, seeds, Path(folder))
            return _in_folder(answer, given, seeds, Path(folder))

    return answered


def _in_folder(answer: Callable[[Path, Path], str], given: Path, seeds: Path, folder: Path) -> str:
    if answer is answer_runs:
        (folder / "whole").symlink_to(next(seeds.iterdir()).absolute())
    return outcome_of(answer, given, folder)


def fuzz(
    kind: str, first: int, count: int, seeds: Path, *, job: dict | None = None, processes: int = 2
) -> dict[int, Outcome]:  # type: ignore[type-arg]
    """Outcome of each input."""
    return go_through(range(first, first + count), Job(answerer, (kind, seeds), **(job or {})), processes=processes)


def table(outcomes: dict[int, Outcome]) -> str:
    """Counts by outcome with the first inputs of each, the slowest and the largest."""
    numbers: dict[str, list[int]] = {}
    for number, outcome in sorted(outcomes.items()):
        numbers.setdefault(outcome.said, []).append(number)
    counts = Counter({said: len(which) for said, which in numbers.items()})
    lines = [f"{count:6}  {said}  (inputs {', '.join(map(str, numbers[said][:3]))})" for said, count in counts.most_common()]
    past = counts["answered"]
    faults = sum(count for said, count in counts.items() if said not in GOOD)
    lines.append(f"past the parser, whole: {past} of {len(outcomes)} ({past / max(1, len(outcomes)):.0%}); faults: {faults}")
    if outcomes:
        slow = max(outcomes, key=lambda number: outcomes[number].seconds)
        large = max(outcomes, key=lambda number: outcomes[number].grew_mb)
        lines.append(f"slowest: {outcomes[slow].seconds:.1f} s (input {slow}); ")
        lines[-1] += f"largest: {outcomes[large].grew_mb} MB more (input {large})"
    return "\n".join(lines)


def coverage_table(folder: Path) -> str:
    """Lines of the package's readers that were run, by file; without coverage data, nothing."""
    from coverage import Coverage

    taken = Coverage(data_file=str(folder / "coverage"), config_file=False)
    taken.combine([str(folder)])
    told = io.StringIO()
    taken.report(file=told, show_missing=False)
    return told.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20, help="longest time for one input")
    parser.add_argument("--seeds", type=Path, help="folder of files to begin with, made if it is not there")
    parser.add_argument("--keep", type=Path, help="make input --first here, and print what became of it")
    parser.add_argument("--no-coverage", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        seeds = args.seeds or Path(made) / "seeds"
        if not seeds.exists():
            seeds.mkdir(parents=True)
            KINDS[args.kind][0](seeds)
        if args.keep is not None:
            args.keep.mkdir(parents=True)
            given, changed = make_input(args.kind, args.first, seeds, args.keep)
            print(given, *changed, sep="\n    ")
            print(_in_folder(KINDS[args.kind][1], given, seeds, args.keep))
            return
        covered = None if args.no_coverage else Path(made)
        job = {"seconds": args.seconds, "coverage": covered, "measured": ROOMS[args.kind]}
        outcomes = fuzz(args.kind, args.first, args.count, seeds, job=job, processes=args.processes)
        print(table(outcomes))
        if covered is not None:
            print(coverage_table(covered))
        sys.exit(int(any(outcome.said not in GOOD for outcome in outcomes.values())))


if __name__ == "__main__":
    main()
