# SPDX-License-Identifier: Apache-2.0
"""``lightning-interp wandb-workspace``: a ready-made W&B workspace view of everything the monitor logs."""

import argparse
import sys

from lightning_interp.cli.exit_codes import DONE
from lightning_interp.cli.plain_json import print_json
from lightning_interp.core.console import one_line

DESCRIPTION = """\
Builds a W&B workspace view: losses, phases, weights, activations, components and figures in sections, over the snapshot's
own step on a logarithmic axis, nothing smoothed; runs grouped by verdict, each with a line of its own. Nothing of the
project's other views is changed. Without a W&B key, and with --json, the view is printed as JSON and nothing is sent.
"""

EPILOG = """examples:
  lightning-interp wandb-workspace --entity my-team --project grokking
      Saves the view in the project and prints its address.
  lightning-interp wandb-workspace --entity my-team --project grokking --json > view.json
      What would be saved, without network.

exit code: 0 done; 1 W&B did not take it; 2 the extra `workspace` is not installed, or a name is refused
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command; imports nothing heavy."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("--entity", required=True, metavar="E", help="W&B user or team")
    parser.add_argument("--project", required=True, metavar="P", help="W&B project that the runs are in")
    parser.add_argument("--name", default="Learning phases", metavar="NAME", help="name of the view (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the view as JSON on standard output, send nothing")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Save the view, or print it."""
    from lightning_interp.dashboards.loggers.workspace import build_workspace, has_key, save_workspace, workspace_json

    workspace = build_workspace(args.entity, args.project, name=args.name)
    if not args.json and has_key():
        print(one_line(f"Saved the view {args.name!r}: {save_workspace(workspace)}"))
        return DONE
    if not args.json:
        print("No W&B key here (`wandb login`, or WANDB_API_KEY): this is the view, not saved.", file=sys.stderr)
    print_json(workspace_json(workspace), indent=1)
    return DONE
