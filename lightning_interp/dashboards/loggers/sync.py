# SPDX-License-Identifier: Apache-2.0
"""Results that came after training, to the W&B run of the training: rows it has not got, and the outcome as it is now."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lightning_interp.core.errors import InterpError, RunError
from lightning_interp.core.records import Record
from lightning_interp.core.timeline import Timeline
from lightning_interp.dashboards.loggers.outcome import Outcome
from lightning_interp.dashboards.loggers.rows import covered_step, names_of, row_keys, row_of
from lightning_interp.dashboards.loggers.wandb import opened
from lightning_interp.store.delivered import Delivered, WandbTarget, late_steps, read_delivered, write_delivered
from lightning_interp.store.manifest import Status
from lightning_interp.store.recordlog import read_rows, surviving_records
from lightning_interp.store.run import Run


@dataclass(frozen=True)
class Late:
    """What a W&B run has not got.

    Attributes:
        target: The W&B run.
        records: Records whose rows it lacks, ascending.
        last_step: Optimizer step of the run's last record.
        timeline: Phases now.
        names: Record names of a row.
        read_bytes: Bytes of records.jsonl that this was found in.
    """

    target: WandbTarget
    records: tuple[Record, ...]
    last_step: int
    timeline: Timeline
    names: tuple[str, ...]
    read_bytes: int


@dataclass(frozen=True)
class Sent:
    """What a W&B run was sent.

    Attributes:
        target: The W&B run, as it is supplied now.
        steps: Optimizer steps of the rows.
        figures: Number of figures.
        timeline: Phases as they were sent; the summary goes with final ones only.
        mode: W&B's mode.
        directory: Folder of the offline run that has them, None where they went to the server.
    """

    target: WandbTarget
    steps: tuple[int, ...]
    figures: int
    timeline: Timeline
    mode: str
    directory: str | None


def choose_targets(
    run: Run, *, project: str | None = None, entity: str | None = None, run_id: str | None = None
) -> tuple[WandbTarget, ...]:
    """The W&B runs to supply: of those that the training logged to the ones that fit, else the one that is named.

    Args:
        run: The run.
        project: W&B project, None for any.
        entity: W&B user or team, None for any.
        run_id: Id of a W&B run, None for any; a new run begins where nothing fits and no id is given.

    Raises:
        RunError: The training logged to no W&B run, and none is named.
    """
    delivered = read_delivered(run.path)
    known = () if delivered is None else delivered.wandb
    named = WandbTarget(entity, project, run_id or "", name=run.path.resolve().name)
    fitting = [target for target in known if _fits(target, named)]
    if fitting:
        return tuple(replace(each, entity=entity or each.entity, project=project or each.project) for each in fitting)
    if project is None and run_id is None:
        raise RunError(
            f"{run.path}: its training logged to no W&B run{' of that entity' if known else ''}. Name one: `--project P` "
            "begins a new one, `--project P --id ID` adds to one that is there (and `--entity E`)."
        )
    return (named,)


def _fits(target: WandbTarget, named: WandbTarget) -> bool:
    """Whether a W&B run can be the one that is named; what is not known or not said fits anything."""
    pairs = ((target.entity, named.entity), (target.project, named.project), (target.run_id, named.run_id or None))
    return all(None in pair or pair[0] == pair[1] for pair in pairs)


def find_late(run: Run, target: WandbTarget) -> Late | None:
    """What a W&B run has not got, None where it has everything."""
    lines, read_bytes = read_rows(run.path)
    timeline = run.timeline_at(time.time(), status=_status(run))
    if timeline is None:
        return None
    covered = covered_step(timeline)
    records = [each for each in surviving_records(lines, run.manifest) if each.values and each.step <= covered]
    wanted = set(late_steps(run.path, target, records))
    last_step = max((record.step for record in records), default=-1)
    if not wanted and (timeline.state != "final" or last_step <= target.outcome_step):
        return None
    delivered = read_delivered(run.path)
    names = names_of(records) if delivered is None else delivered.names
    late = tuple(record for record in records if record.step in wanted)
    return Late(target, late, last_step, timeline, names, read_bytes)


def _status(run: Run) -> Status | None:
    """The training delivers no more (`sync` asks first): one that did not say how it ended was broken off."""
    return "interrupted" if run.manifest.status == "training" else None


def send_late(run: Run, late: Late, report: Path | None, *, mode: str) -> Sent:
    """Send what a W&B run has not got, with figures, files and, once final, the summary, and note it.

    Raises:
        InterpError: W&B did not take it; nothing is noted, so that the next call sends it again.
    """
    outcome = Outcome(run.path, run.manifest.run_id, late.timeline, late.last_step, report)
    try:
        with opened(late.target, mode=mode) as (board, directory):
            board.prepare(row_keys(late.names))
            for record in late.records:
                board.log(row_of(record, late.timeline, late.names))
            board.summarize(late.timeline, late.last_step)
            board.publish_figures(outcome)
            board.publish_files(outcome)
            found = board.target() or late.target
    except Exception as err:  # W&B's own errors have no common base
        raise InterpError(f"{run.path}: W&B did not take the results ({type(err).__name__}: {err}).") from err
    supplied = _supplied(late, found)
    delivered = read_delivered(run.path) or Delivered(-1, late.names)
    write_delivered(run.path, delivered.with_target(supplied))
    steps = tuple(record.step for record in late.records)
    return Sent(supplied, steps, len(outcome.figures()), late.timeline, mode, directory if mode == "offline" else None)


def _supplied(late: Late, found: WandbTarget) -> WandbTarget:
    """The W&B run after it was sent what it lacked; of one that the training began, where and how it was stays."""
    before = late.target
    known = replace(before, entity=found.entity or before.entity, project=found.project or before.project)
    supplied = known if before.run_id and before.files_dir else found
    return replace(
        supplied,
        url=before.url or found.url,
        step=max(before.step, late.last_step),
        read_bytes=late.read_bytes,
        outcome_step=late.last_step if late.timeline.state == "final" else before.outcome_step,
    )


def sync_run(run: Run, modes: Mapping[WandbTarget, str], *, report: Callable[[], Path | None]) -> list[Sent]:
    """Supply W&B runs with what they have not got; those that have everything are left alone.

    Args:
        run: The run.
        modes: W&B runs from `choose_targets`, and W&B's mode for each.
        report: Writes the run's report anew; called once, where there is something to send.
    """
    late = [found for target in modes if (found := find_late(run, target)) is not None]
    if not late:
        return []
    page = report()
    return [send_late(run, each, page, mode=modes[each.target]) for each in late]
