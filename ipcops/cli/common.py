"""What every command shares: its common options, and the way from a request to an exit status."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ipcops.core import exits
from ipcops.core.deliver import guarded
from ipcops.core.errors import InputError
from ipcops.core.options import HELP
from ipcops.core.policy import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable


def seconds(text: str | float) -> float:
    """Return seconds from ``10``, ``10s`` or ``2m``, for Typer."""
    if isinstance(text, float):  # the default
        return text
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter("'%s' %s" % (text, error)) from error


Format = Annotated[str, typer.Option("--format", metavar="table|json", help=HELP["format"])]
Output = Annotated[str | None, typer.Option("--output", metavar="FILE", help=HELP["output"])]
Debug = Annotated[bool, typer.Option("--debug", help=HELP["debug"])]
PolicyFile = Annotated[str | None, typer.Option("--policy", metavar="FILE", help=HELP["policy"])]
Deadline = Annotated[
    float | None, typer.Option("--deadline", metavar="SECONDS", parser=seconds, help=HELP["deadline"])
]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", help=HELP["all_namespaces"])]
Probe = Annotated[bool, typer.Option("--probe", help=HELP["probe"])]
Profile = Annotated[list[str] | None, typer.Option("--profile", metavar="PROFILE", help=HELP["profile"])]
Interval = Annotated[
    float, typer.Option("--interval", metavar="SECONDS", parser=seconds, help=HELP["interval"])
]


def carry_out(request: dict[str, Any]) -> None:
    """Run a request, show its report, and end with its exit status."""

    def work() -> int:
        from ipcops.core.consent import consented  # --help needs none of it
        from ipcops.core.run import run, status
        from ipcops.show import deliver, on_terminal
        from ipcops.show.progress import Progress

        if request["format"] not in ("table", "json"):
            raise InputError("unknown format '%s'; it is table or json" % request["format"])

        def patiently(one: dict[str, Any]) -> dict[str, Any]:
            with Progress(request["command"]):
                return run(one)

        report = consented(request, patiently, lambda planned: on_terminal(request, planned))
        if report is None:
            return exits.DONE
        deliver(request, report)
        return status(request, report)

    end(work, debug=request.get("debug", False), plugin=request["command"] == "check")


def end(work: Callable[[], int], *, debug: bool, plugin: bool = False) -> None:
    """End the process with the status of *work*, every failure told."""
    sys.exit(guarded(work, debug=debug, name="ipcops", plugin=plugin))
