"""``ipcops journal``."""

from __future__ import annotations

from typing import Annotated

import typer

from ipcops.cli.common import Debug, Format, Output, PolicyFile, carry_out
from ipcops.core.options import HELP


def journal(
    since: Annotated[str | None, typer.Option("--since", metavar="WHEN", help=HELP["since"])] = None,
    kind: Annotated[str | None, typer.Option("--kind", metavar="KIND", help=HELP["journal_kind"])] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="KEY", help=HELP["journal_key"])] = None,
    policy: PolicyFile = None,
    format: Format = "table",
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Read the journal."""
    carry_out(
        {
            "command": "journal",
            "since": since,
            "kinds": None if kind is None else [kind],
            "key": key,
            "policy": policy,
            "format": format,
            "output": output,
            "debug": debug,
        }
    )
