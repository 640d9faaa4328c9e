"""``ipcops set``."""

from __future__ import annotations

from typing import Annotated

import typer

from ipcops.cli.common import Deadline, Debug, Format, Output, PolicyFile, carry_out
from ipcops.core.options import HELP


def set_object(
    object: Annotated[str, typer.Argument(metavar="KIND:ID", help=HELP["object"])],
    changes: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help=HELP["change"])],
    policy: PolicyFile = None,
    deadline: Deadline = None,
    format: Format = "table",
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Change an object."""
    carry_out(
        {
            "command": "set",
            "objects": [object],
            "changes": changes,
            "policy": policy,
            "deadline": deadline,
            "format": format,
            "output": output,
            "debug": debug,
        }
    )
