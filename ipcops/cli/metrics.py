"""``ipcops metrics``."""

from __future__ import annotations

from typing import Annotated

import typer

from ipcops.cli.common import Deadline, Debug, Format, Output, PolicyFile, carry_out
from ipcops.core.options import HELP


def metrics(
    textfile: Annotated[str | None, typer.Option("--textfile", metavar="PATH", help=HELP["textfile"])] = None,
    policy: PolicyFile = None,
    deadline: Deadline = None,
    format: Format = "table",
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Print the metrics of this host."""
    carry_out(
        {
            "command": "metrics",
            "textfile": textfile,
            "policy": policy,
            "deadline": deadline,
            "format": format,
            "output": output,
            "debug": debug,
        }
    )
