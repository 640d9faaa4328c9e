"""``ipcops restore``."""

from __future__ import annotations

from typing import Annotated

import typer

from ipcops.cli.common import Debug, Format, Output, PolicyFile, carry_out
from ipcops.core.options import HELP


def restore(
    backup: Annotated[str, typer.Argument(metavar="BACKUP", help=HELP["saved"])],
    objects: Annotated[list[str] | None, typer.Argument(metavar="[KIND:ID]...", help=HELP["wanted"])] = None,
    policy: PolicyFile = None,
    format: Format = "table",
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Put objects back."""
    carry_out(
        {
            "command": "restore",
            "backup": backup,
            "objects": objects,
            "policy": policy,
            "format": format,
            "output": output,
            "debug": debug,
        }
    )
