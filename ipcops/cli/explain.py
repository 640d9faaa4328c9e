"""``ipcops explain``."""

from __future__ import annotations

from typing import Annotated

import typer

from ipcops.cli.common import Deadline, Debug, Format, Output, PolicyFile, carry_out
from ipcops.core.options import HELP


def explain(
    call: Annotated[str | None, typer.Argument(metavar="[CALL]", help=HELP["call"])] = None,
    errno: Annotated[str | None, typer.Argument(metavar="[ERRNO]", help=HELP["errno"])] = None,
    policy: PolicyFile = None,
    deadline: Deadline = None,
    format: Format = "table",
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Explain why a call fails."""
    carry_out(
        {
            "command": "explain",
            "call": call,
            "errno": errno,
            "policy": policy,
            "deadline": deadline,
            "format": format,
            "output": output,
            "debug": debug,
        }
    )
