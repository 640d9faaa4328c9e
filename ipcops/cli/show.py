"""``ipcops show``."""

from __future__ import annotations

from typing import Annotated

import typer

from ipcops.cli.common import AllNamespaces, Deadline, Debug, Format, Output, PolicyFile, Probe, carry_out
from ipcops.core.options import HELP


def show(
    objects: Annotated[list[str], typer.Argument(metavar="KIND:ID...", help=HELP["object"])],
    policy: PolicyFile = None,
    deadline: Deadline = None,
    all_namespaces: AllNamespaces = False,
    probe: Probe = False,
    format: Format = "table",
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Show single objects."""
    carry_out(
        {
            "command": "show",
            "objects": objects,
            "policy": policy,
            "deadline": deadline,
            "all_namespaces": all_namespaces,
            "probe": probe,
            "format": format,
            "output": output,
            "debug": debug,
        }
    )
