"""``ipcops list``."""

from __future__ import annotations

from typing import Annotated

import typer

from ipcops.cli.common import AllNamespaces, Deadline, Debug, Format, Output, PolicyFile, Probe, carry_out
from ipcops.core.options import HELP


def list_objects(
    kinds: Annotated[list[str] | None, typer.Argument(metavar="[KIND]...", help=HELP["kind"])] = None,
    verdict: Annotated[list[str] | None, typer.Option("--verdict", metavar="VERDICT", help=HELP["verdict"])] = None,
    owner: Annotated[str | None, typer.Option("--owner", metavar="USER", help=HELP["owner"])] = None,
    sort: Annotated[str | None, typer.Option("--sort", metavar="ORDER", help=HELP["sort"])] = None,
    policy: PolicyFile = None,
    deadline: Deadline = None,
    all_namespaces: AllNamespaces = False,
    probe: Probe = False,
    format: Format = "table",
    output: Output = None,
    debug: Debug = False,
) -> None:
    """List this host's objects."""
    carry_out(
        {
            "command": "list",
            "kinds": kinds,
            "verdicts": verdict,
            "owner": owner,
            "sort": sort,
            "policy": policy,
            "deadline": deadline,
            "all_namespaces": all_namespaces,
            "probe": probe,
            "format": format,
            "output": output,
            "debug": debug,
        }
    )
