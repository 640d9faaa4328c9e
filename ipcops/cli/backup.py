"""``ipcops backup``."""

from __future__ import annotations

from typing import Annotated

import typer

from ipcops.cli.common import Deadline, Debug, Format, Output, PolicyFile, carry_out
from ipcops.core.options import HELP


def backup(
    objects: Annotated[list[str], typer.Argument(metavar="KIND:ID...", help=HELP["object"])],
    directory: Annotated[str | None, typer.Option("--backup", metavar="DIR", help=HELP["backup_dir"])] = None,
    policy: PolicyFile = None,
    deadline: Deadline = None,
    format: Format = "table",
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Back objects up."""
    carry_out(
        {
            "command": "backup",
            "objects": objects,
            "directory": directory,
            "policy": policy,
            "deadline": deadline,
            "format": format,
            "output": output,
            "debug": debug,
        }
    )
