# SPDX-License-Identifier: Apache-2.0
"""Where the probe of a run comes from and where it goes: built, given, or collected; stored, or sent to the analyzer."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lightning_interp.capture import (
    MOST_LOADERS,
    FurtherLoader,
    StreamedProbe,
    as_loaded,
    build_probe,
    data_sets_kept,
    first_batch,
    is_map_style,
    read_further,
    room_beside,
    shared_examples,
)
from lightning_interp.capture.further_loaders import Room, name_by_place
from lightning_interp.core.batch_types import imported_type, types_in, types_of
from lightning_interp.core.batches import example_count
from lightning_interp.core.console import say, warn
from lightning_interp.core.errors import ProbeError
from lightning_interp.core.records import SPLITS, Batch, Probe, ProbeSplit, Split
from lightning_interp.monitor.training_context import TrainingContext
from lightning_interp.store import Manifest, write_manifest, write_probe
from lightning_interp.store.probe_file import batch_types

_NO_INDEX = "which examples the loaders draw cannot be told"


class ProbeCollection:
    """Looks after the probe of one run.

    Args:
        run_dir: Run directory.
        manifest: Its manifest; `manifest` is this with the probe's entry, on disk as soon as it is known.
        save: Whether the probe is written into the directory.
        send: Hands a probe that is not written to a running analyzer; called on a helper thread.
        announce: Tells a running analyzer the classes of a probe's batches, before that is written; on the same thread.

    Attributes:
        manifest: As said.
        travels: What the analyzer must be sent at its start.
        batch_types: Classes of the batches of a probe that lies in the directory by then.
    """

    def __init__(
        self,
        run_dir: Path,
        manifest: Manifest,
        *,
        save: bool,
        send: Callable[[Probe], None],
        announce: Callable[[Mapping[str, type]], None] = lambda _: None,
    ) -> None:
        self.manifest = manifest
        self.travels: Probe | None = None
        self.batch_types: Mapping[str, type | None] = {}
        self._run_dir, self._save, self._send, self._announce = run_dir, save, send, announce
        self._passing: StreamedProbe | None = None
        self._known: Probe | None = None
        self._first_of_train = False
        self._committing: threading.Thread | None = None
        self._turn = threading.Lock()  # manifest and run.json change together
        self._too_late = False

    def seal(self) -> Manifest:
        """The manifest as it stands; from now on nobody here writes run.json."""
        with self._turn:
            self._too_late = True
            return self.manifest

    def amend(self, change: Callable[[Manifest], Manifest]) -> None:
        """Change another entry of run.json, unless it is sealed; from any thread."""
        with self._turn, suppress(OSError):
            if not self._too_late:
                self.manifest = change(self.manifest)
                write_manifest(self._run_dir, self.manifest)

    def prepare(self, training: TrainingContext, *, given: Probe | None, resumed: bool) -> None:
        """Build the probe or start collecting it; afterwards `travels` is what the analyzer must be sent at its start."""
        if resumed and self.manifest.probe.get("status") == "ready":
            at_hand = types_of(training.first_batch)  # also classes that were made while running, which no name leads to
            self.batch_types = {name: at_hand.get(name) or imported_type(name) for name in batch_types(self._run_dir)}
            return
        data = [loader for loader in (training.train_data, training.heldout_data) if loader is not None]
        first = training.first_of_train
        self._first_of_train = bool(first)
        if first and given is None:
            say(f"of the loaders in a training batch the probe takes the first ({first}): validation shows one")
        if given is not None:
            self.travels = self._keep(given)
        elif training.train_data is not None and not all(is_map_style(loader) for loader in data):
            if not training.hands_batches:
                warn(f"{_NO_INDEX}, so there is no probe, and only weights are measured; pass probe=")
                self._settle({"status": "none", "reason": _NO_INDEX})
                return
            self._passing = StreamedProbe(heldout=training.heldout_data is not None or training.heldout_later)
            say(f"{_NO_INDEX}: the probe is made of the first batches that pass")
            if training.further_heldout:
                say("of several validation loaders only the first is followed then")
        elif training.train_data is not None and training.heldout_later:
            self._known = _built(training, self.manifest.layers)
            self._passing = StreamedProbe(heldout=True, train=self._known is None)
            say("validation data comes later: held-out examples are those of the first validation, and records wait for it")
        else:
            self.travels = self._keep(_built(training, self.manifest.layers) if data else None)

    @property
    def collects(self) -> bool:
        """Whether batches that pass are wanted."""
        return self._passing is not None

    def offer(self, split: Split, batch: Batch) -> None:
        """A batch passes; it is kept where the data cannot be indexed and the probe still wants it."""
        if self._passing is not None:
            self._passing.offer(split, first_batch(batch) if split == "train" and self._first_of_train else batch)
            if self._passing.complete:
                self.commit()

    def offer_sanity(self, batches: Sequence[Batch], *, whole: bool) -> None:
        """Validation batches of the sanity check, which comes before the training; `whole` if they are all there are."""
        if self._passing is not None and batches:
            self._passing.offer_sanity(batches, whole=whole)

    def ended(self, split: Split) -> None:
        """A whole pass over a split is over."""
        if self._passing is not None:
            self._passing.ended(split)
            if self._passing.complete:
                self.commit()

    def commit(self) -> None:
        """Make the probe of what has passed so far, where it is being collected; `finish` waits for it. Idempotent."""
        if self._passing is not None:
            passing, self._passing = self._passing, None
            # The batches were cloned on this thread's stream; the helper has a stream of its own.
            cloned = torch.cuda.current_stream().record_event() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
            self._committing = threading.Thread(
                target=self._commit, args=(passing, cloned), name="interp-probe", daemon=True
            )
            self._committing.start()

    def commit_or_warn(self) -> None:
        """The same where the training has broken off, on the thread whose stream cloned the batches that passed."""
        try:
            self.commit()
        except Exception as err:  # a device that failed, or no more threads: the run is closed without a probe
            warn(f"the probe could not be kept ({type(err).__name__}: {err})")

    def finish(self, timeout_s: float) -> None:
        """Commit and wait; afterwards `manifest` says what became of the probe, for good."""
        self.commit()
        if self._committing is None:
            return
        self._committing.join(timeout_s)
        with self._turn:
            if self._committing.is_alive():
                self._too_late = True
                self.manifest = replace(self.manifest, probe={"status": "none", "reason": "not written in time"})
                warn(f"the probe was not written within {timeout_s:.0f} s; this run has none")
        self._committing = None

    def _commit(self, passing: StreamedProbe, cloned: Any) -> None:
        """On the helper thread: copy to the CPU, write, tell the analyzer."""
        try:
            if cloned is not None:
                cloned.synchronize()
            found = passing.probe()
            if self._known is not None:
                found = replace(self._known, heldout=None if found is None else found.heldout)
            if found is not None and passing.lacks_heldout:
                say("no validation came: without held-out examples phases end at memorization")
            types = types_in(found) if found is not None else {}
            if types:
                self._announce(types)
            probe = self._keep(found)
            if probe is not None:
                self._send(probe)
        except Exception as err:  # a full disk, a device error: the training must not depend on it
            reason = f"{type(err).__name__}: {err}"
            warn(f"the probe could not be kept ({reason})")
            with suppress(OSError):
                self._settle({"status": "none", "reason": reason})

    def _keep(self, probe: Probe | None) -> Probe | None:
        """Write the probe and its entry in run.json; returns it where it stays in memory."""
        entry: dict[str, Any] = {"status": "none"}
        travels = None
        if probe is not None:
            entry = {"examples": {part: _examples(probe.split(part)) for part in dict.fromkeys((*SPLITS, *probe.parts))}}
            try:
                if not self._save:
                    raise ProbeError("save_probe=False")
                entry |= {"status": "ready", "hash": write_probe(self._run_dir, probe)}
                self.batch_types = types_in(probe)
            except (ProbeError, OSError) as err:
                travels = probe
                entry |= {"status": "memory", "reason": str(err)}
                if self._save:
                    warn(f"the probe stays out of the run directory: {err}")
        return travels if self._settle(entry) else None

    def _settle(self, entry: dict[str, Any]) -> bool:
        """Put the probe's entry into run.json, unless `finish` has stopped waiting for it."""
        with self._turn:
            if not self._too_late:
                self.manifest = replace(self.manifest, probe=entry)
                write_manifest(self._run_dir, self.manifest)
            return not self._too_late


def _built(training: TrainingContext, layers: Sequence[str]) -> Probe | None:
    loaders = (training.train_data, training.heldout_data, *(each.data for each in training.further_heldout))
    with data_sets_kept(*loaders):
        try:
            probe = _read(training)
            if training.heldout_data is not None and probe.heldout is not None:
                _warn_of_shared(training, probe.heldout)
        except Exception as err:  # the user's data set or collate function; training must not depend on it
            warn(f"no probe could be read from the training data ({type(err).__name__}: {err}); pass probe=")
            return None
        probe = replace(probe, loaders=_of_further_loaders(training, probe.heldout, layers))
    return _with_examples(probe) if training.heldout_data is not None else probe


def _with_examples(probe: Probe) -> Probe:
    """The probe without empty held-out examples: those of the first loader that has any stand in for them."""
    if probe.loaders:
        say(f"validation loaders beside the first: {', '.join(probe.loaders)}")
    if probe.heldout is not None and probe.heldout.batches:
        return probe
    name = next(iter(probe.loaders), None)
    if name is None:
        say("the validation data has no examples: phases end at memorization; pass probe=")
        return replace(probe, heldout=None)
    say(f"the first validation loader has no examples: {name} is judged in its place")
    others = {other: split for other, split in probe.loaders.items() if other != name}
    return replace(probe, heldout=probe.loaders[name], loaders=others)


def _of_further_loaders(training: TrainingContext, first: ProbeSplit | None, layers: Sequence[str]) -> dict[str, ProbeSplit]:
    """Examples of the validation loaders beside the first, all of them together in the room that it leaves."""
    followed = training.further_heldout[: MOST_LOADERS - 1]
    left_out = len(training.further_heldout) - len(followed)
    if left_out:
        say(f"the first {MOST_LOADERS} validation loaders are followed, {left_out} more are not")
    room = replace(room_beside(first), loaders=len(followed))
    found: dict[str, ProbeSplit] = {}
    for loader in followed:
        # Beside a layer of that name its records would be taken for those of the layer.
        name = loader.name if loader.name not in (*layers, *found) else name_by_place(loader.index)
        split = _of_further_loader(training, loader, room)
        room = room.after(split)
        found |= {} if split is None else {name: split}
    return found


def _of_further_loader(training: TrainingContext, loader: FurtherLoader, room: Room) -> ProbeSplit | None:
    """Examples of one; what it cannot give costs only itself."""
    try:
        if not is_map_style(loader.data):
            say(f"validation loader {loader.name} is not followed: which examples it draws cannot be told")
            return None
        try:
            split = read_further(loader, room, transfer=training.transfer)
        except ProbeError:  # of the transfer hooks; the first loader's reading has said so
            split = read_further(loader, room)
    except Exception as err:  # the user's data set or collate function
        warn(f"validation loader {loader.name} is not followed ({type(err).__name__}: {err})")
        return None
    if split is None and len(loader.data.dataset) == 0:
        say(f"validation loader {loader.name} is not followed: it has no examples")
    elif split is None:
        say(f"validation loader {loader.name} is not followed: the others take the room there is for held-out examples")
    return split


def _read(training: TrainingContext) -> Probe:
    train: Any = training.train_data
    heldout: Any = training.heldout_data
    try:
        return build_probe(train, heldout, transfer=training.transfer, most_batches=training.most_batches)
    except ProbeError as err:
        warn(f"{err}; the probe holds batches as the loader gives them")
        return build_probe(train, heldout, transfer=as_loaded, most_batches=training.most_batches)


def _warn_of_shared(training: TrainingContext, heldout: ProbeSplit) -> None:
    """Say so where the held-out loss is a training loss: every phase after memorization rests on their difference."""
    train: Any = training.train_data
    shared = shared_examples(train, training.heldout_data, heldout)  # type: ignore[arg-type]
    if shared:
        warn(f"{shared} of {len(heldout.indices)} held-out examples of the probe are also drawn in training")


def _examples(split: ProbeSplit | None) -> int:
    return 0 if split is None else sum(example_count(batch) for batch in split.batches)
