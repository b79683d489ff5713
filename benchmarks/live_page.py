# SPDX-License-Identifier: Apache-2.0
"""What the live page costs with a long run of many layers: the first page, and an update after one more snapshot.

``python benchmarks/live_page.py`` makes a run directory of 200 layers and 5,000 snapshots, with measures by layer, vectors
and a health log (removed at the end), serves it with ``lightning-interp watch`` in a process of its own, and asks as a
browser does. Times are those of whole requests, transfer over the loopback included. Where there is a Chromium, the page is
also loaded in it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from lightning_interp.core.series import GrowingSeries, add_values
from lightning_interp.core.timeline import Timeline
from lightning_interp.phases import detect_phases
from lightning_interp.store.analysis_state import AnalysisState
from lightning_interp.store.jsonl import append_line
from lightning_interp.store.layout import HEALTH, PHASES, RECORDS, replace_text
from lightning_interp.store.manifest import Manifest, write_manifest

LAYERS, SNAPSHOTS = 200, 5000
MEASURES = ("effective_rank", "stable_rank", "participation_ratio", "hoyer", "near_zero_share", "weight_norm")
VECTORS = {"weight_sketch": 64, "fourier_power_embedding": 56, "fourier_power_readout": 56}
SECTIONS = ("phases", "measures", "layers", "components", "training")
EVERY, LIMIT_S = 20, 0.3
FIND_BROWSER = (str(Path(__file__).parents[1] / ".ci" / "browser"), "--find")


class SyntheticRun:
    """A run directory that looks like a grokking run, and grows by a snapshot at a time.

    Args:
        path: Run directory to make.
        layers: Number of layers.
        snapshots: Snapshots it begins with.
    """

    def __init__(self, path: Path, *, layers: int, snapshots: int) -> None:
        self.path, self._layers, self._count = path, layers, 0
        self._random = np.random.default_rng(0)
        path.mkdir(parents=True)
        names = tuple(f"blocks.{k // 4}.{('attn', 'mlp.in', 'mlp.out', 'norm')[k % 4]}" for k in range(layers))
        write_manifest(
            path,
            Manifest(
                "0" * 16, "2026-01-02T03:04:05+00:00", names, names, names, "project.Network", {}, {}, status="training"
            ),
        )
        self._series: GrowingSeries = {}
        self._last = snapshots * EVERY
        with (path / RECORDS).open("w") as records, (path / HEALTH).open("w") as health:
            for _ in range(snapshots):
                record, note = self._rows()
                records.write(json.dumps(record, separators=(",", ":")) + "\n")
                health.write(json.dumps(note, separators=(",", ":")) + "\n")
        self._timeline = detect_phases(self._series, n_classes=113)
        self._conclude()

    def grow(self) -> None:
        """One more snapshot, recorded and judged."""
        record, note = self._rows()
        append_line(self.path / HEALTH, note)
        append_line(self.path / RECORDS, record)
        more = {
            name: (*points, (record["step"], points[-1][1])) for name, points in self._timeline.intensities.items() if points
        }
        self._timeline = Timeline(**{**vars(self._timeline), "intensities": more})
        self._conclude()

    def _conclude(self) -> None:
        replace_text(self.path / PHASES, json.dumps(self._timeline.to_dict()))
        AnalysisState(stage="running", last_step=self._count * EVERY, n_classes=113).write(self.path)

    def _rows(self) -> tuple[dict[str, Any], dict[str, Any]]:
        self._count += 1
        step = self._count * EVERY
        values = self._values(step / self._last)
        add_values(self._series, step, values)
        by_layer = {name: np.round(1 + self._random.random(self._layers), 5).tolist() for name in MEASURES}
        vectors = {name: np.round(self._random.random(size), 5).tolist() for name, size in VECTORS.items()}
        record = {"step": step, "attempt": 0, "values": values, "layers": by_layer, "skipped": {}, "vectors": vectors}
        scalars = {
            "training/lr": 1e-3,
            "training/weight_decay": 1.0,
            "training/batch_size": 512.0,
            "loss": values["train_loss"],
        }
        costs = {"bytes": 10**6, "write_ms": 3.0, "copy_ms": 0.5, "time": round(time.time(), 3)}
        return record, {"event": "snapshot", "step": step, "attempt": 0, "scalars": scalars, **costs}

    def _values(self, done: float) -> dict[str, float]:
        """A course like that of the recorded run: fitted early, generalized late."""
        noise = float(np.exp(0.02 * self._random.standard_normal()))
        rise = 1 / (1 + np.exp(-40 * (done - 0.65)))
        found = {
            "train_loss": 4.7 * np.exp(-300 * done) + 1e-6,
            "heldout_loss": (4.7 + 20 * min(1.0, done * 10)) * (1 - rise) + 1e-4,
            "train_accuracy": min(1.0, 0.01 + 100 * done),
            "heldout_accuracy": float(rise),
            "weight_norm": 60 - 25 * rise,
            "restricted_loss": 4.7 * (1 - rise) + 1e-5,
            "excluded_loss_max": 1e-3 + 5 * rise,
            "gini_embedding": 0.1 + 0.6 * rise,
            "effective_rank": 40 - 20 * rise,
            "hoyer": 0.2 + 0.3 * rise,
        }
        shares = ("train_accuracy", "heldout_accuracy")
        return {name: float(f"{float(value) * (1 if name in shares else noise):.8g}") for name, value in found.items()}


class Browser:
    """Asks for updates as the page does, and remembers what it was sent.

    Args:
        url: Where the page is.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        callbacks = json.loads(self._get("_dash-dependencies"))
        self._callback = next(
            each for each in callbacks if any(part["property"] == "n_intervals" for part in each["inputs"])
        )
        self.shown: Any = None

    def update(self, section: str) -> tuple[float, int]:
        """Seconds the update of a section took, and bytes it had."""
        values = {"section": section, "time": "log", "values": "log", "n_intervals": 1, "around": {"theme": "light"}}
        body = json.dumps(
            {
                "output": self._callback["output"],
                "outputs": self._outputs(),
                "inputs": [self._filled(each, values) for each in self._callback["inputs"]],
                "state": [self._filled(each, {"shown": self.shown}) for each in self._callback["state"]],
                "changedPropIds": ["tick.n_intervals"],
            }
        ).encode()
        request = urllib.request.Request(self._url + "_dash-update-component", body, {"Content-Type": "application/json"})
        began = time.perf_counter()
        with urllib.request.urlopen(request) as answer:
            content = answer.read()
        took = time.perf_counter() - began
        sent = json.loads(content)["response"].get("shown") if content else None
        self.shown = sent["data"] if sent else self.shown
        return took, len(content)

    def _outputs(self) -> list[dict[str, str]]:
        parts = self._callback["output"].strip(".").split("...")
        return [dict(zip(("id", "property"), part.rsplit(".", 1), strict=True)) for part in parts]

    def _filled(self, part: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
        place = json.loads(part["id"]) if part["id"].startswith("{") else part["id"]
        key = place["control"] if isinstance(place, dict) else place
        return {"id": place, "property": part["property"], "value": values.get(key, values.get(part["property"]))}

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self._url + path) as answer:
            return bytes(answer.read())


def main() -> int:
    """Measure and print; 1 where an update takes longer than it may."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--snapshots", type=int, default=SNAPSHOTS)
    parser.add_argument("--updates", type=int, default=15, help="updates to time in each section")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="live-page-"))
    try:
        run = SyntheticRun(folder / "synthetic", layers=args.layers, snapshots=args.snapshots)
        size = sum(path.stat().st_size for path in run.path.iterdir())
        print(f"run of {args.layers} layers and {args.snapshots:,} snapshots, {size / 1e6:.0f} MB", flush=True)
        return measure(run, updates=args.updates)
    finally:
        shutil.rmtree(folder)


def measure(run: SyntheticRun, *, updates: int) -> int:
    """Time everything against a server in another process."""
    command = [sys.executable, "-m", "lightning_interp.cli.main", "watch", str(run.path), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = next(word for word in server.stdout.readline().split() if word.startswith("http"))
        slowest = measure_updates(run, url, updates)
        measure_in_browser(run, url)
    finally:
        server.terminate()
        server.wait()
    print(f"slowest median of an update: {1e3 * slowest:.0f} ms; it may take {1e3 * LIMIT_S:.0f} ms")
    return int(slowest > LIMIT_S)


def measure_updates(run: SyntheticRun, url: str, updates: int) -> float:
    """Print the time of the first request and of updates by section; the slowest median, in seconds."""
    browser = Browser(url)
    took, size = browser.update(SECTIONS[0])
    print(f"first request, which reads the whole run: {took:.2f} s, {size / 1e3:.0f} kB")
    medians = []
    for section in SECTIONS:
        browser.update(section)
        grown = []
        for _ in range(updates):
            run.grow()
            grown.append(browser.update(section))
        still = [browser.update(section) for _ in range(updates)]
        medians.append(median(took for took, _ in grown))
        print(f"{section:>12}: one more snapshot {spread(grown)}; nothing new {spread(still)}", flush=True)
    return max(medians)


def spread(measured: Sequence[tuple[float, int]]) -> str:
    """Median and range of times, and the median of sizes."""
    times = sorted(1e3 * took for took, _ in measured)
    return f"{median(times):.0f} ms ({times[0]:.0f} to {times[-1]:.0f}), {median(size for _, size in measured) / 1e3:.1f} kB"


def measure_in_browser(run: SyntheticRun, url: str, loads: int = 5) -> None:
    """Load the page in a browser with an empty cache each time; then the time until one more snapshot is drawn."""
    found = subprocess.run(FIND_BROWSER, stdout=subprocess.PIPE, text=True, check=False).stdout.strip()
    if not found:
        print("no Chromium or Chrome: the page is not loaded in a browser")
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        times = []
        for _ in range(loads):
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            began = time.perf_counter()
            page.goto(url)
            page.wait_for_selector("#content .main-svg")
            times.append(time.perf_counter() - began)
        before = page.inner_text(".head .state")
        began = time.perf_counter()
        run.grow()
        while page.inner_text(".head .state") == before:
            page.wait_for_timeout(20)
        seen = time.perf_counter() - began
        browser.close()
    print(
        f"page load in Chromium, cache empty: {median(times):.2f} s ({min(times):.2f} to {max(times):.2f}); "
        f"a snapshot is on the page {seen:.2f} s after it was written (a look every 2 s)"
    )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
