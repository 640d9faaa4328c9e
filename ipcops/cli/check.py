"""``ipcops check``."""

from __future__ import annotations

from typing import Annotated

import typer

from ipcops.cli.common import Deadline, Debug, Format, Output, PolicyFile, carry_out
from ipcops.core.options import HELP


def check(
    warning: Annotated[
        list[str] | None, typer.Option("--warning", metavar="METRIC=RANGE", help=HELP["warning"])
    ] = None,
    critical: Annotated[
        list[str] | None, typer.Option("--critical", metavar="METRIC=RANGE", help=HELP["critical"])
    ] = None,
    policy: PolicyFile = None,
    deadline: Deadline = None,
    format: Format = "table",
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Check this host as a monitoring plugin."""
    carry_out(
        {
            "command": "check",
            "warning": warning,
            "critical": critical,
            "policy": policy,
            "deadline": deadline,
            "format": format,
            "output": output,
            "debug": debug,
        }
    )
