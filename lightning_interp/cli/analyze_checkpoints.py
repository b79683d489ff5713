# SPDX-License-Identifier: Apache-2.0
"""``lightning-interp analyze SOURCE...``: what was found, what is odd about it, and the work itself."""

import argparse
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lightning_interp.cli.progress import counted
from lightning_interp.core.errors import ConfigError

if TYPE_CHECKING:
    from lightning_interp.core.terminal import PlainConsole
    from lightning_interp.measures import CyclicGroupTask
    from lightning_interp.posthoc.checkpoint_analysis import CheckpointOptions
    from lightning_interp.posthoc.checkpoint_survey import Survey
    from lightning_interp.sources.checkpoints.finding import Finding

LOOK_EVERY_S = 2.0
"""How often a folder that is followed is looked at."""
SHOWN = 12
"""Most steps and findings that are shown before work starts."""


def run_checkpoints(args: argparse.Namespace) -> Any:
    """Analyze checkpoints; returns the run they became."""
    from lightning_interp.core.terminal import PlainConsole, shown
    from lightning_interp.posthoc.checkpoint_analysis import analyze_survey
    from lightning_interp.posthoc.checkpoint_survey import Survey

    console, options = PlainConsole(stderr=True), _options(args)
    with shown(console.status("looking through the checkpoints")):
        survey = Survey.of(args.sources, step_pattern=args.step_pattern, averaged=args.averaged, key=args.key)
    _show_survey(console, survey)
    told = set(survey.findings)
    while True:
        with counted(console, "checkpoints") as progress:
            analysis = analyze_survey(survey, options, on_progress=progress)
        _show_findings(console, [finding for finding in analysis.findings if finding not in told])
        told.update(analysis.findings)
        if not args.follow:
            break
        options = replace(options, out=analysis.run.path)
        later = _wait_for_more(console, args, survey)
        if later is None:
            break
        survey = later
    for notice in analysis.notices:
        if not any(finding.text in notice for finding in analysis.findings):
            console.say(notice)
    if analysis.pending:
        needed = "--module and --probe" if args.module is None else "--probe"
        console.say(f"not measured, need {needed}: {', '.join(analysis.pending)}")
    console.say(f"{len(analysis.observed)} checkpoints measured now; results: {analysis.run.path}")
    return analysis.run


def _options(args: argparse.Namespace) -> "CheckpointOptions":
    from lightning_interp.core.request import AnalysisRequest
    from lightning_interp.posthoc.checkpoint_analysis import CheckpointOptions

    names = [name for names in args.measures for name in names.split(",") if name]
    request = AnalysisRequest(
        module=args.module,
        probe=args.probe,
        probe_step=args.probe_step,
        task=None if args.task is None else _task(args.task),
        measures=names or "standard",
        tca=True if args.tca else None,
        device=args.device,
    )
    return CheckpointOptions(args.out, request, engine=args.engine, workers=args.workers, threads=args.threads)


def _task(text: str) -> "CyclicGroupTask":
    from lightning_interp.measures import CyclicGroupTask

    op, _, p = text.partition(":")
    if not p.isdigit() or op not in ("add", "sub", "mul"):
        raise ConfigError(f"--task: expected OP:P, such as add:113 (add, sub or mul), got {text!r}.")
    return CyclicGroupTask(int(p), op)  # type: ignore[arg-type]


def _wait_for_more(console: "PlainConsole", args: argparse.Namespace, survey: "Survey") -> "Survey | None":
    """The next look that finds more; None once Ctrl-C says that it is enough."""
    from lightning_interp.core.terminal import shown
    from lightning_interp.posthoc.checkpoint_survey import Survey

    known = {each.step for each in survey.kept}
    try:
        with shown(console.status("waiting for more checkpoints; Ctrl-C ends")):
            while True:
                time.sleep(LOOK_EVERY_S)
                later = Survey.of(
                    args.sources, step_pattern=args.step_pattern, averaged=args.averaged, key=args.key, earlier=survey
                )
                if {each.step for each in later.kept} - known:
                    return later
    except KeyboardInterrupt:
        return None


def _show_survey(console: "PlainConsole", survey: "Survey") -> None:
    """Steps before work starts, so that a wrong pattern is seen at once."""
    kept = survey.kept
    console.say(f"{len(kept)} checkpoints to analyze in {', '.join(survey.sources)}")
    shown = kept if len(kept) <= SHOWN else (*kept[: SHOWN // 2], *kept[-SHOWN // 2 :])
    for at, each in enumerate(shown):
        if len(kept) > SHOWN and at == SHOWN // 2:
            console.say(f"  ... {len(kept) - len(shown)} more ...")
        own = (survey.in_epochs and each.found.named_epoch is None) or each.header.step is not None
        kind = "epoch" if survey.in_epochs else "step"
        console.say(f"  {kind} {each.step:>12,}  {each.found.where}  ({f'its own {kind}' if own else 'by its name'})")
    if survey.in_epochs:
        console.say("  Steps are epochs: neither the checkpoints nor their names say optimizer steps.")
    _show_findings(console, list(survey.findings))


def _show_findings(console: "PlainConsole", findings: "list[Finding]") -> None:
    for finding in findings[:SHOWN]:
        console.say(f"  {finding.kind.replace('_', ' ')}: {finding.where}: {finding.text}")
    if len(findings) > SHOWN:
        console.say(f"  ... and {len(findings) - SHOWN} more, all in checkpoints.jsonl")
