# SPDX-License-Identifier: Apache-2.0
"""Where the probe of a run comes from and where it goes: built, given, or collected; stored, or sent to the analyzer."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_interp.batches import example_count
from lightning_interp.capture import PassingProbe, build_probe, is_map_style
from lightning_interp.console import say, warn
from lightning_interp.errors import ProbeError
from lightning_interp.records import Batch, Probe, ProbeSplit, Split
from lightning_interp.store import Manifest, write_manifest, write_probe
from lightning_interp.training import Training


class ProbeKeeper:
    """Looks after the probe of one run.

    Args:
        run_dir: Run directory.
        manifest: Its manifest; `manifest` is this with the probe's entry, on disk as soon as it is known.
        save: Whether the probe is written into the directory.
        send: Hands a probe that is not written to a running analyzer.
    """

    def __init__(self, run_dir: Path, manifest: Manifest, *, save: bool, send: Callable[[Probe], None]) -> None:
        self.manifest = manifest
        self.travels: Probe | None = None
        self._run_dir, self._save, self._send = run_dir, save, send
        self._passing: PassingProbe | None = None

    def prepare(self, training: Training, *, given: Probe | None, resumed: bool) -> None:
        """Build the probe or start collecting it; afterwards `travels` is what the analyzer must be sent at its start."""
        if resumed and self.manifest.probe.get("status") == "ready":
            return
        data = [loader for loader in (training.train_data, training.heldout_data) if loader is not None]
        if given is not None:
            self.travels = self._keep(given)
        elif training.train_data is not None and not all(is_map_style(loader) for loader in data):
            self._passing = PassingProbe(heldout=training.heldout_data is not None)
            say("the data cannot be indexed: the probe is made of the first batches that pass")
        else:
            self.travels = self._keep(_built(training) if data else None)

    def offer(self, split: Split, batch: Batch) -> None:
        """A batch passes; it is kept where the data cannot be indexed and the probe still wants it."""
        if self._passing is not None:
            self._passing.offer(split, batch)
            if self._passing.complete:
                self.commit()

    def ended(self, split: Split) -> None:
        """A whole pass over a split is over."""
        if self._passing is not None:
            self._passing.ended(split)
            if self._passing.complete:
                self.commit()

    def commit(self) -> None:
        """Make the probe of what has passed so far, where it is being collected."""
        if self._passing is not None:
            passing, self._passing = self._passing, None
            probe = self._keep(passing.probe())
            if probe is not None:
                self._send(probe)

    def _keep(self, probe: Probe | None) -> Probe | None:
        """Write the probe and its entry in run.json; returns it where it stays in memory."""
        entry: dict[str, Any] = {"status": "none"}
        travels = None
        if probe is not None:
            entry = {"examples": {"train": _examples(probe.train), "heldout": _examples(probe.heldout)}}
            try:
                if not self._save:
                    raise ProbeError("save_probe=False")
                entry |= {"status": "ready", "hash": write_probe(self._run_dir, probe)}
            except (ProbeError, OSError) as err:
                travels = probe
                entry |= {"status": "memory", "reason": str(err)}
                if self._save:
                    warn(f"the probe stays out of the run directory: {err}")
        self.manifest = replace(self.manifest, probe=entry)
        write_manifest(self._run_dir, self.manifest)
        return travels


def _built(training: Training) -> Probe | None:
    try:
        return build_probe(training.train_data, training.heldout_data, transfer=training.transfer)  # type: ignore[arg-type]
    except Exception as err:  # the user's data set or collate function; training must not depend on it
        warn(f"no probe could be read from the training data ({type(err).__name__}: {err}); pass probe=")
        return None


def _examples(split: ProbeSplit | None) -> int:
    return 0 if split is None else sum(example_count(batch) for batch in split.batches)
