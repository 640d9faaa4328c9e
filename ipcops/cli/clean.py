"""``ipcops clean``."""

from __future__ import annotations

from typing import Annotated

import typer

from ipcops.cli.common import Deadline, Debug, Output, PolicyFile, carry_out, seconds
from ipcops.core.options import HELP, default_format


def clean(
    objects: Annotated[list[str] | None, typer.Argument(metavar="[KIND:ID]...", help=HELP["named"])] = None,
    apply: Annotated[bool, typer.Option("--apply", help=HELP["apply"])] = False,
    yes: Annotated[bool, typer.Option("--yes", help=HELP["yes"])] = False,
    plan: Annotated[str | None, typer.Option("--plan", metavar="FILE", help=HELP["plan"])] = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", metavar="KIND", help=HELP["removable"])] = None,
    owner: Annotated[str | None, typer.Option("--owner", metavar="USER", help=HELP["owner"])] = None,
    min_age: Annotated[
        float | None, typer.Option("--min-age", metavar="AGE", parser=seconds, help=HELP["min_age"])
    ] = None,
    max_removals: Annotated[
        int | None, typer.Option("--max-removals", metavar="N", help=HELP["max_removals"])
    ] = None,
    with_data: Annotated[bool, typer.Option("--with-data", help=HELP["with_data"])] = False,
    job_ended: Annotated[str | None, typer.Option("--job-ended", metavar="USER", help=HELP["job_ended"])] = None,
    notify: Annotated[bool, typer.Option("--notify", help=HELP["notify"])] = False,
    backup: Annotated[str | None, typer.Option("--backup", metavar="DIR", help=HELP["backup_dir"])] = None,
    no_backup: Annotated[bool, typer.Option("--no-backup", help=HELP["no_backup"])] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help=HELP["exit_code"])] = False,
    policy: PolicyFile = None,
    deadline: Deadline = None,
    format: Annotated[str | None, typer.Option("--format", metavar="table|json", help=HELP["format"])] = None,
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Remove what is abandoned."""
    carry_out(
        {
            "command": "clean",
            "objects": objects,
            "apply": apply,
            "yes": yes,
            "plan": plan,
            "kinds": kind,
            "owner": owner,
            "min_age": min_age,
            "max_removals": max_removals,
            "with_data": with_data,
            "job_ended": job_ended,
            "notify": notify,
            "backup": backup,
            "no_backup": no_backup,
            "exit_code": exit_code,
            "policy": policy,
            "deadline": deadline,
            "format": format or default_format("clean", output),
            "output": output,
            "debug": debug,
        }
    )
