"""``ipcops limits``."""

from __future__ import annotations

from typing import Annotated

import typer

from ipcops.cli.common import Debug, Format, Output, PolicyFile, Profile, carry_out
from ipcops.core.options import HELP

Value = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help=HELP["value"])]
ForceLower = Annotated[bool, typer.Option("--force-lower", help=HELP["force_lower"])]
Yes = Annotated[bool, typer.Option("--yes", help=HELP["limits_yes"])]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("show", help=HELP["limits show"])
def show(policy: PolicyFile = None, format: Format = "table", output: Output = None, debug: Debug = False) -> None:
    """Tell every limit."""
    request = {"command": "limits", "verb": "show", "policy": policy}
    carry_out({**request, "format": format, "output": output, "debug": debug})


@app.command("profiles", help=HELP["limits profiles"])
def profiles(
    names: Annotated[list[str] | None, typer.Argument(metavar="[PROFILE]...", help=HELP["profile_named"])] = None,
    policy: PolicyFile = None,
    format: Format = "table",
    output: Output = None,
    debug: Debug = False,
) -> None:
    """List the profiles."""
    request = {"command": "limits", "verb": "profiles", "names": names, "policy": policy}
    carry_out({**request, "format": format, "output": output, "debug": debug})


@app.command("plan", help=HELP["limits plan"])
def plan(
    profile: Profile = None,
    value: Value = None,
    force_lower: ForceLower = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help=HELP["limits_exit_code"])] = False,
    policy: PolicyFile = None,
    format: Format = "table",
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Print what would change."""
    request = {"command": "limits", "verb": "plan", "profiles": profile, "values": value, "policy": policy}
    chosen = {"force_lower": force_lower, "exit_code": exit_code}
    carry_out({**request, **chosen, "format": format, "output": output, "debug": debug})


@app.command("apply", help=HELP["limits apply"])
def apply(
    profile: Profile = None,
    value: Value = None,
    force_lower: ForceLower = False,
    yes: Yes = False,
    policy: PolicyFile = None,
    format: Format = "table",
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Set limits."""
    request = {"command": "limits", "verb": "apply", "profiles": profile, "values": value, "policy": policy}
    chosen = {"force_lower": force_lower, "apply": True, "yes": yes}
    carry_out({**request, **chosen, "format": format, "output": output, "debug": debug})


@app.command("rollback", help=HELP["limits rollback"])
def rollback(
    batch: Annotated[str | None, typer.Argument(metavar="[NAME]", help=HELP["applied"])] = None,
    yes: Yes = False,
    policy: PolicyFile = None,
    format: Format = "table",
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Put limits back."""
    request = {"command": "limits", "verb": "rollback", "batch": batch, "policy": policy}
    carry_out({**request, "apply": True, "yes": yes, "format": format, "output": output, "debug": debug})
