"""``ipcops show``."""

from __future__ import annotations

from typing import Annotated

import typer

from ipcops.cli.common import Deadline, Debug, Format, Output, PolicyFile, carry_out
from ipcops.core.options import HELP


def show(
    objects: Annotated[list[str], typer.Argument(metavar="KIND:ID...", help=HELP["object"])],
    policy: PolicyFile = None,
    deadline: Deadline = None,
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
            "format": format,
            "output": output,
            "debug": debug,
        }
    )
