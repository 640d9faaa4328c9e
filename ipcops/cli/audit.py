"""``ipcops audit``."""

from __future__ import annotations

from typing import Annotated

import typer

from ipcops.cli.common import (
    AllNamespaces,
    Deadline,
    Debug,
    Format,
    Interval,
    Output,
    PolicyFile,
    Probe,
    Profile,
    carry_out,
)
from ipcops.core.options import HELP


def audit(
    kind: Annotated[list[str] | None, typer.Option("--kind", metavar="KIND", help=HELP["kind"])] = None,
    rule: Annotated[list[str] | None, typer.Option("--rule", metavar="RULE", help=HELP["rule"])] = None,
    min_severity: Annotated[
        str | None, typer.Option("--min-severity", metavar="SEVERITY", help=HELP["min_severity"])
    ] = None,
    fail_on: Annotated[str, typer.Option("--fail-on", metavar="SEVERITY", help=HELP["fail_on"])] = "medium",
    require_complete: Annotated[bool, typer.Option("--require-complete", help=HELP["require_complete"])] = False,
    policy: PolicyFile = None,
    profile: Profile = None,
    deadline: Deadline = None,
    all_namespaces: AllNamespaces = False,
    probe: Probe = False,
    samples: Annotated[int | None, typer.Option("--samples", metavar="N", help=HELP["samples"])] = None,
    interval: Interval = 1.0,
    format: Format = "table",
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Audit this host."""
    carry_out(
        {
            "command": "audit",
            "kinds": kind,
            "rules": rule,
            "min_severity": min_severity,
            "fail_on": fail_on,
            "require_complete": require_complete,
            "policy": policy,
            "profiles": profile,
            "deadline": deadline,
            "all_namespaces": all_namespaces,
            "probe": probe,
            "samples": samples,
            "interval": interval,
            "format": format,
            "output": output,
            "debug": debug,
        }
    )
