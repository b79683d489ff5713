# SPDX-License-Identifier: Apache-2.0
"""Everything an analysis may import, imported at once: before a worker takes over the import path of somebody's training.

Later, a `random.py` or `rich.py` beside the training would come first.
"""

from importlib import import_module

MODULES = (
    "lightning_interp.analysis.orders",
    "lightning_interp.analysis.worker.work_loop",
    "lightning_interp.analysis.worker.slots",
    "lightning_interp.phases.stage_checks",
    "lightning_interp.phases.stages",
    "lightning_interp.tca",
    "ruptures",  # for the stages of a loss curve
    "torch._dynamo",  # for `torch.compiler.set_stance`
)
"""What is otherwise imported where it is used; a test holds that an analysis imports nothing beside it."""


def import_all() -> None:
    """Import it; takes a few seconds of processor time where torch is not imported yet."""
    for name in MODULES:
        import_module(name)
