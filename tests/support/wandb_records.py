# SPDX-License-Identifier: Apache-2.0
"""An offline W&B run, read back by W&B's own reader."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SETTINGS = {"console": "off", "silent": True, "x_disable_stats": True}
"""Settings of a W&B run that prints nothing and measures nothing of the machine."""


class WandbRecords:
    """Everything one W&B file holds.

    Args:
        file: ``run-<id>.wandb``, or the folder it is alone in.
    """

    def __init__(self, file: Path) -> None:
        self.file = next(file.glob("*.wandb")) if file.is_dir() else file
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(self.file)]
        text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
        self.records: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines() if line.strip()]

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """Contents of the records of one kind."""
        return [record[kind] for record in self.records if record["type"] == kind]

    @property
    def history(self) -> list[dict[str, Any]]:
        """History rows, nested keys joined by dots as the reader has them."""
        return [row["item"] for row in self.of_type("history")]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Our rows of numbers: those that have a phase."""
        return [row for row in self.history if "interp/phase" in row]

    @property
    def figures(self) -> list[tuple[str, int]]:
        """Every plotly figure: its key and its optimizer step."""
        marked = [(key, row) for row in self.history for key in row if key.endswith("._type") and row[key] == "plotly-file"]
        return [(key.removesuffix("._type"), int(row["interp/step"])) for key, row in marked]

    @property
    def summary(self) -> dict[str, Any]:
        """The summary at the end."""
        found: dict[str, Any] = {}
        for record in self.of_type("summary"):
            found |= record.get("update", {})
        return found

    @property
    def alerts(self) -> list[str]:
        """Texts of alerts."""
        return [alert["text"] for alert in self.of_type("alert")]

    @property
    def artifacts(self) -> list[dict[str, Any]]:
        """Artifacts: name, type and, by name, where the file was copied to."""
        return [
            {
                "name": each["name"],
                "type": each["type"],
                "files": {entry["path"]: Path(entry["local_path"]) for entry in each["manifest"]["contents"]},
            }
            for each in self.of_type("artifact")
        ]

    def plotly(self, key: str) -> dict[str, Any]:
        """The latest figure under a key, as plotly's JSON."""
        path = next(row[f"{key}.path"] for row in reversed(self.history) if f"{key}.path" in row)
        return dict(json.loads((self.file.parent / "files" / path).read_text(encoding="utf-8")))


def values_by_step(rows: list[dict[str, Any]], names: list[str]) -> dict[int, dict[str, Any]]:
    """Chosen values of rows by their optimizer step."""
    return {int(row["interp/step"]): {name: row[f"interp/{name}"] for name in names} for row in rows}
