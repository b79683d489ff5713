# SPDX-License-Identifier: Apache-2.0
"""A run, or several, as one static page that opens from disk without network."""

from lightning_interp.dashboards.report.boundaries import boundary_changes
from lightning_interp.dashboards.report.page import REPORT, report_html, write_report
from lightning_interp.dashboards.report.sentences import snapshots_to_go, status_words, verdict_sentence

__all__ = [
    "REPORT",
    "boundary_changes",
    "report_html",
    "snapshots_to_go",
    "status_words",
    "verdict_sentence",
    "write_report",
]
