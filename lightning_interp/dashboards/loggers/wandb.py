# SPDX-License-Identifier: Apache-2.0
"""Weights & Biases: rows on a step axis of their own, figures, alerts when phases change, outcome and report at the end."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_interp.core.timeline import Timeline
from lightning_interp.dashboards.loggers.live_figure import PANEL
from lightning_interp.dashboards.loggers.logger_adapter import LoggerAdapter
from lightning_interp.dashboards.loggers.outcome import BOUND_KEY, FIGURE_PREFIX, Outcome, summary_fields
from lightning_interp.dashboards.loggers.rows import Row
from lightning_interp.measures.label import NO_LABELS, Labels
from lightning_interp.measures.logged_names import STEP_KEY, logged_name
from lightning_interp.store.delivered import WandbTarget

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import wandb

TIMELINE_KEY = logged_name("timeline")
ARTIFACT_TYPE = "interp-report"
_ALERT_WAIT_S = 0
_OLDER_NAMES = {"dryrun": "offline", "run": "online"}


class WandbAdapter(LoggerAdapter):
    """A W&B run, whoever started it.

    Late rows are never dropped or moved: W&B orders its own step by arrival and WandbLogger adds the current
    ``trainer/global_step`` to every row, so ours carry the snapshot's step themselves, and no call passes `step=`.

    Args:
        logger: A WandbLogger of either Lightning namespace, or anything with the W&B run as its `experiment`.
    """

    takes_figures = True

    def __init__(self, logger: Any) -> None:
        super().__init__(logger)
        self.run: wandb.Run = logger.experiment

    def prepare(self, keys: Sequence[str], own: Labels = NO_LABELS) -> None:  # noqa: ARG002 - one pattern fits whatever the keys are
        """Give our keys their own x-axis, and say that the sweep's objective is to be small where W&B asks."""
        self.run.define_metric(STEP_KEY, hidden=True)
        self.run.define_metric(logged_name("*"), step_metric=STEP_KEY)
        define: Callable[..., Any] = self.run.define_metric
        if "goal" in inspect.signature(define).parameters:  # wandb 0.31 took it away
            define(BOUND_KEY, step_metric=STEP_KEY, goal="minimize")

    def log(self, row: Row) -> None:
        """Log one row in one call."""
        self.run.log(row.metrics)

    def alert(self, title: str, text: str) -> None:
        """Send an alert about a phase or an alarm."""
        self.run.alert(title=title, text=text, wait_duration=_ALERT_WAIT_S)

    def draw(self, figure: "go.Figure") -> object:
        """The figure as W&B sends it, already written to a temporary file."""
        import wandb

        return wandb.Plotly(figure)

    def show(self, drawn: object, step: int) -> None:
        """A row of its own, so that rows of numbers all have the same keys."""
        self.run.log({TIMELINE_KEY: drawn, STEP_KEY: float(step)})

    def summarize(self, timeline: Timeline, last_step: int) -> None:
        """Put verdict, boundaries, steps of early warning and grokking, and its bound into the summary, once final."""
        for name, value in summary_fields(timeline, last_step).items():
            self.run.summary[name] = value

    def publish_figures(self, outcome: Outcome) -> None:
        """All figures in one row, and the timeline once more as it is at the end."""
        import wandb

        drawn = outcome.figures()
        figures = {f"{FIGURE_PREFIX}{each.key}": wandb.Plotly(each.figure) for each in drawn}
        timelines = [wandb.Plotly(each.figure) for each in drawn if each.key == PANEL]
        if figures:
            now = {TIMELINE_KEY: timelines[0]} if timelines else {}
            self.run.log({**figures, **now, STEP_KEY: float(outcome.last_step)})

    def publish_files(self, outcome: Outcome) -> None:
        """Report, results and components as one artifact of the run."""
        import wandb

        artifact = wandb.Artifact(
            outcome.artifact_name,
            type=ARTIFACT_TYPE,
            description="Report and results of lightning-interp; report.html opens without network.",
            metadata=outcome.facts,
        )
        for name, path in outcome.files():
            artifact.add_file(str(path), name=name)
        self.run.log_artifact(artifact)

    def target(self) -> WandbTarget | None:
        """Where the run is, None where it is none: W&B is disabled."""
        settings = self.run.settings
        mode = mode_named(settings.mode)
        if mode == "disabled":
            return None
        return WandbTarget(
            entity=self.run.entity or None,
            project=self.run.project or None,
            run_id=self.run.id,
            name=self.run.name or None,
            url=None if mode == "offline" else self.run.url,
            mode=mode,
            files_dir=str(Path(settings.files_dir).absolute()),
        )


def mode_named(mode: str) -> str:
    """W&B's present name of a mode."""
    return _OLDER_NAMES.get(mode, mode)


@contextmanager
def opened(target: WandbTarget, *, mode: str) -> Iterator[tuple[WandbAdapter, str]]:
    """Go on with a W&B run, or begin one where there is none of that id, and finish it after the block.

    Args:
        target: The run; its name is given to a new one only.
        mode: Of W&B: ``offline`` writes an offline run of the same id, which ``wandb sync`` adds to the run.

    Yields:
        The run, and the folder it is written to.
    """
    import wandb

    identity = {"id": target.run_id, "resume": "allow"} if target.run_id else {"name": target.name}
    settings = wandb.Settings(console="off", silent=mode == "offline", x_disable_stats=True)
    init: Callable[..., wandb.Run] = wandb.init
    run = init(entity=target.entity, project=target.project, mode=mode, settings=settings, **identity)
    try:
        yield WandbAdapter(_Experiment(run)), str(run.settings.sync_dir)
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish()


class _Experiment:
    """A W&B run where a logger would have it."""

    def __init__(self, run: "wandb.Run") -> None:
        self.experiment = run
