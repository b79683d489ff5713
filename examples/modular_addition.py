# SPDX-License-Identifier: Apache-2.0
"""Grokking as in Nanda et al. 2023, watched while it happens.

The network, a one-layer ReLU transformer without LayerNorm, and the data module are in `lightning_interp.demo`,
where the two-minute demo trains them too; this script is everything around them. Nothing in either knows that it is
being watched: the only line about it is the `InterpMonitor` in the list of callbacks.

The defaults are the paper's recipe: 40,000 full-batch steps, for a GPU or more than an hour of CPU. For minutes of CPU:

    python examples/modular_addition.py --p 43 --fraction .6 --d-model 64 --weight-decay 3 --max-steps 7000 --seed 1

The paper splits ordered pairs at random. Here (a, b) and (b, a) are on the same side unless `--split ordered` asks for the
paper's draw, because a network which is symmetric in its inputs would know the answer to every held-out pair whose
mirror image it was trained on. A small modulus therefore needs a larger fraction than with a random split: seed 0 of

    python examples/modular_addition.py --p 59 --fraction .4 --split ordered --max-steps 5000

has learned the held-out pairs by step 2,200, and without `--split ordered` knows none of them at step 5,000.

What to look at afterwards: `lightning_interp.open_run(run_dir)` gives `.timeline` (phases and verdict) and
`.records("excluded_loss")` (steps and values); with `--logger wandb` the same series are under `interp/`.
"""

import argparse
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger

from lightning_interp import CyclicGroupTask, InterpMonitor
from lightning_interp.demo import ModularAddition, ModularAdditionData


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--p", type=int, default=113, help="modulus")
    parser.add_argument("--fraction", type=float, default=0.3, help="share of the pairs to train on")
    parser.add_argument("--split", choices=("unordered", "ordered"), default="unordered", help="see above")
    parser.add_argument("--d-model", type=int, default=128, help="width; divisible by 4")
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate")
    parser.add_argument("--weight-decay", type=float, default=1.0, help="decoupled weight decay")
    parser.add_argument("--max-steps", type=int, default=40_000, help="optimizer steps")
    parser.add_argument("--seed", type=int, default=0, help="seed of split and initial weights")
    parser.add_argument("--logger", choices=("csv", "wandb", "none"), default="csv")
    parser.add_argument("--dirpath", type=Path, help="run directory of the monitor")
    parser.add_argument("--resume", type=Path, help="checkpoint to go on from")
    return parser.parse_args()


def make_logger(name: str) -> Logger | bool:
    if name == "csv":
        return CSVLogger("lightning_logs", name="modular_addition")
    return WandbLogger(project="modular-addition") if name == "wandb" else False


def main() -> None:
    args = parse_arguments()
    L.seed_everything(args.seed)
    model = ModularAddition(args.p, d_model=args.d_model, lr=args.lr, weight_decay=args.weight_decay)
    data = ModularAdditionData(args.p, fraction=args.fraction, split=args.split, seed=args.seed)

    monitor = InterpMonitor(args.dirpath, task=CyclicGroupTask(args.p, "add"))
    monitor.on_phase("cleanup", lambda change: print(f"the memorized answers are being removed: {change}"))

    trainer = L.Trainer(
        max_steps=args.max_steps,
        logger=make_logger(args.logger),
        callbacks=[monitor, ModelCheckpoint(every_n_train_steps=2000, save_last=True)],
    )
    trainer.fit(model, datamodule=data, ckpt_path=args.resume)
    print(f"run directory: {monitor.run_dir}")
    print(f"verdict: {monitor.timeline.verdict if monitor.timeline else 'none yet'}")


if __name__ == "__main__":
    main()
