"""``ipcops rules``."""

from __future__ import annotations

from typing import Annotated

import typer

from ipcops.cli.common import Debug, Format, Output, carry_out
from ipcops.core.options import HELP


def rules(
    wanted: Annotated[list[str] | None, typer.Argument(metavar="[RULE]...", help=HELP["rules_named"])] = None,
    policy: Annotated[str | None, typer.Option("--policy", metavar="FILE", help=HELP["rules_policy"])] = None,
    format: Format = "table",
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Print the catalogue."""
    carry_out(
        {"command": "rules", "rules": wanted, "policy": policy, "format": format, "output": output, "debug": debug}
    )
