# SPDX-License-Identifier: Apache-2.0
"""Record one ordinary training: train it, write its metrics, and say what is known of its data."""

import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from ordinary.datasets import THIRD_PARTY
from ordinary.nulls import null_error, null_loss
from ordinary.spec import OrdinarySpec
from ordinary.training import make_split, train
from recorded_metrics import found_by_monitor, rounded, write_metrics

from lightning_interp import open_run

NAMED = ("family", "config", "seed", "part")
"""Fields of a definition that have a place of their own in the index."""


def record_ordinary(spec: OrdinarySpec, folder: Path) -> dict[str, Any]:
    """Train one run on one thread and write its metrics; nothing is written where it fails.

    Args:
        spec: The run.
        folder: Gets ``NAME.csv.gz``, a row for each snapshot.

    Returns:
        The run's line in the index: definition, facts about its data, and the processor seconds it took.
    """
    torch.set_num_threads(1)
    logging.getLogger("lightning_interp").setLevel(logging.ERROR)
    started = time.process_time()
    data = make_split(spec)
    with tempfile.TemporaryDirectory() as scratch:
        run_dir = Path(scratch) / "run"
        network = train(spec, data, run_dir)
        rows = write_metrics(open_run(run_dir), {}, folder / f"{spec.name}.csv.gz")
        found = found_by_monitor(run_dir)
    heldout, classes = data.heldout.answers, data.heldout.classes
    error = null_error(heldout, classes)
    return {
        "name": spec.name,
        "part": spec.part,
        "family": spec.family,
        "config": spec.config,
        "seed": spec.seed,
        "kind": data.heldout.kind,
        "classes": classes,
        "null_loss": rounded(null_loss(heldout, classes, spec.loss)),
        "null_error": None if error is None else rounded(error),
        "monitor": found,
        "trained_on": len(data.train.inputs),
        "heldout_examples": len(data.heldout.inputs),
        "learnable": spec.learnable and not spec.shuffled,
        "switched": bool(spec.switch),
        "flipped_train": round(data.flipped_train, 4),
        "flipped_heldout": round(data.flipped_heldout, 4),
        "third_party": spec.data in THIRD_PARTY,
        "spec": {name: value for name, value in spec.plain().items() if name not in NAMED},
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "rows": rows,
        "cpu_s": round(time.process_time() - started, 1),
    }
