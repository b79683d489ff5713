# SPDX-License-Identifier: Apache-2.0
"""The report at the end of a training: written unless it is switched off, and never a reason for the training to fail."""

from pathlib import Path

from lightning_interp.core.console import say, warn

REPORT_SWITCH = "LIGHTNING_INTERP_REPORT"
"""Environment variable; "0" means that nothing writes a report by itself."""


def write_run_report(run_dir: Path, *, partial: bool, strict: bool) -> Path | None:
    """Write the report of a run and say where it is, and if it is `partial` how to renew it; `strict` raises errors.

    Returns:
        The report, None where it could not be written.
    """
    renew = f"`lightning-interp report {run_dir}`"
    try:
        from lightning_interp.dashboards.report import write_report

        report = write_report([run_dir])
    except KeyboardInterrupt:
        say(f"no report: interrupted; {renew} writes it")
        raise
    except Exception as err:  # whatever a disk, a stranger's numbers or plotly do
        if strict:
            raise
        warn(f"the report could not be written ({type(err).__name__}: {err}); {renew} tries again")
        return None
    say(f"report {report}")
    if partial:
        say(f"the report shows what is analyzed so far; {renew} renews it")
    return report
