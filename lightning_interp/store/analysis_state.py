# SPDX-License-Identifier: Apache-2.0
"""analysis.json: what the analyzer is doing and the choices it made at the first snapshot, kept for the whole run."""

import json
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from lightning_interp.core.console import warn_once
from lightning_interp.core.errors import RunError
from lightning_interp.core.logged_curves import LoggedAs, plain_logged, read_logged
from lightning_interp.core.null_predictor import NullPredictor
from lightning_interp.core.typed_values import fields_of, misfit
from lightning_interp.store.bounded_file import read_object
from lightning_interp.store.layout import ANALYSIS, replace_text

AnalysisStage = Literal["starting", "running", "finished", "stopped", "failed"]
MOST_NAMED = 8
"""Process ids that are named; of more only the number is said."""

EXAMPLES = "examples"
"""What a mean loss is over where it is nothing else."""
WEIGHTS_ONLY = "only weights are measured"
"""In every notice that says so; such notices go once outputs are there."""


@dataclass
class AnalysisState:
    """State of the analysis of one run; replaced on disk after every change.

    Attributes:
        stage: What the analyzer does now; `stopped` left work for later, `failed` ended by an error.
        last_step: Latest observed step.
        pending: Committed snapshots still to be observed when this was written.
        route: How outputs are found (`LossSource.name`), None before the first snapshot or where none works.
        loss: Of the module's own step: under which name its loss was found, and how it sums up.
        guess_checked: Train losses, in their own unit, at which a guessed loss was compared with the module's own: the
            first and the latest.
        mean_over: What the module's mean losses are over (`MeanOver.name`), None while it is not known. Always in the file
            once written: a file with a route and without it is of an earlier version, whose batches count by examples.
        n_classes: Classes of the module's logits, None where it does not classify.
        null_loss: Held-out loss of the best constant prediction, None while it is not known.
        null_error: Its held-out error, None while it is not known.
        null_source: What they were computed from, as a phrase for a reader.
        heldout_examples: Answers the held-out values are means over, 0 without held-out examples; None before the first
            snapshot.
        probe_cut: Examples kept of each split where the probe was too slow as a whole.
        seconds_per_snapshot: Time one observation took, latest.
        device: Device of the replica.
        threads: Torch threads of the analyzer.
        notices: One line each for the user, in the order they arose.
        start_id: Which start of an analyzer wrote this.
        observing: Step under observation, also the one whose observation an analyzer died of; None between observations.
        fitting: Whether tensor components are being fitted.
        busy_since: When the observation or the fit began, in seconds since 1970; None while idle.
        ends_at: When it counts as hanging, in seconds since 1970; None while idle or where there is no limit.
        waiting_for_slot: Whether other analyzers on this machine go first.
        waits_for: Process ids of these, as far as they can be seen.
        untrusted: Why, by step: checkpoints that were left out, or do not lie between their neighbours.
        labels: Labels of measures that are not built in, in plain values by name; not in the file if there are none.
        logged_as: By curve, what the training logs that phases follow in place of the probe's; as `labels` in the file.
    """

    stage: AnalysisStage = "starting"
    last_step: int | None = None
    pending: int = 0
    route: str | None = None
    loss: dict[str, str] = field(default_factory=dict)
    guess_checked: list[float] = field(default_factory=list)
    mean_over: str | None = None
    n_classes: int | None = None
    null_loss: float | None = None
    null_error: float | None = None
    null_source: str | None = None
    heldout_examples: int | None = None
    probe_cut: dict[str, int] = field(default_factory=dict)
    seconds_per_snapshot: float | None = None
    device: str = "cpu"
    threads: int = 1
    notices: list[str] = field(default_factory=list)
    start_id: str = ""
    observing: int | None = None
    fitting: bool = False
    busy_since: float | None = None
    ends_at: float | None = None
    waiting_for_slot: bool = False
    waits_for: list[int] = field(default_factory=list)
    untrusted: dict[str, str] = field(default_factory=dict)
    labels: dict[str, dict[str, Any]] = field(default_factory=dict)
    logged_as: dict[str, LoggedAs] = field(default_factory=dict)

    @property
    def null(self) -> NullPredictor:
        """What is known of the null predictor."""
        return NullPredictor.read(vars(self))

    def learn_null(self, found: NullPredictor) -> None:
        """Take over what was found out about the null predictor; the number of classes stays as it was learned."""
        self.null_loss, self.null_error, self.null_source = found.loss, found.error, found.source
        self.heldout_examples = found.heldout_examples

    def choices(self) -> "AnalysisState":
        """A new state that holds what was found out at the first snapshots of this one, and nothing else of it."""
        kept = ("route", "loss", "mean_over", "probe_cut", "n_classes")
        chosen = replace(AnalysisState(), **{name: copy(getattr(self, name)) for name in kept})
        chosen.learn_null(self.null)
        return chosen

    def take_route(self, name: str, loss: dict[str, str]) -> None:
        """Outputs are found this way from now on; what was learned about the loss of another way is forgotten."""
        if self.route is not None and self.route != name:
            self.learn_null(NullPredictor())
            self.n_classes = self.mean_over = None
        self.route, self.loss = name, dict(loss)

    def notice(self, text: str) -> None:
        """Add a line for the user, once."""
        if text not in self.notices:
            self.notices.append(text)

    def rest(self) -> None:
        """Nothing is under way."""
        self.observing, self.fitting, self.busy_since, self.ends_at = None, False, None, None

    def drop(self, mark: str) -> None:
        """Take back every line that holds a mark, because it is no longer so."""
        self.notices = [notice for notice in self.notices if mark not in notice]

    def write(self, run_dir: Path) -> None:
        """Replace analysis.json."""
        content = asdict(self)
        content["logged_as"] = plain_logged(self.logged_as)
        for name in ("labels", "logged_as"):
            if not content[name]:
                del content[name]
        replace_text(run_dir / ANALYSIS, json.dumps(content, indent=1))


_KINDS = {**fields_of(AnalysisState), "labels": Mapping[str, Any], "logged_as": Mapping[str, Any]}
"""As JSON has them; labels and curves are looked at one by one."""


def queue_words(analysis: Mapping[str, Any]) -> str:
    """Whom an analyzer waits for, by the content of its analysis.json; empty if it waits for none.

    >>> queue_words({"stage": "running", "waiting_for_slot": True, "waits_for": [41, 57]})
    'waits for 2 other analyzers of yours (pids 41, 57)'
    """
    if analysis.get("stage") != "running" or not analysis.get("waiting_for_slot"):
        return ""
    pids: Sequence[int] = analysis.get("waits_for", ())
    if not pids:
        return "waits for other analyzers on its machine"
    many = "s" if len(pids) > 1 else ""
    named = ", ".join(map(str, pids[:MOST_NAMED])) + (", …" if len(pids) > MOST_NAMED else "")
    return f"waits for {len(pids):,} other analyzer{many} of yours (pid{many} {named})"


def read_analysis(run_dir: Path) -> dict[str, Any]:
    """Content of analysis.json, empty if it is not there yet. Fields of another type are left out and named.

    Raises:
        RunError: It cannot be read.
    """
    path = run_dir / ANALYSIS
    content = read_object(path) or {}
    for name, kind in _KINDS.items():
        if wrong := misfit(content, {name: kind}):
            warn_once(f"{path}: {wrong}. It counts as not known.")
            del content[name]
    return content


def read_state(run_dir: Path) -> AnalysisState:
    """State left by an earlier analyzer, or a new one if there is none that can be read."""
    try:
        content = read_analysis(run_dir)
    except RunError as err:
        warn_once(f"{err} The analyzer makes its choices anew.")
        return AnalysisState()
    known = {name: content[name] for name in AnalysisState.__dataclass_fields__ if name in content}
    if known.get("route"):
        known.setdefault("mean_over", EXAMPLES)  # one curve has one unit
    return AnalysisState(**known | {"logged_as": read_logged(known.get("logged_as"))})
