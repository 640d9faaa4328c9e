"""The command ``ipcops``."""

from __future__ import annotations

import gc
import importlib
import sys

import typer

from ipcops.core import __version__
from ipcops.core.deliver import guarded
from ipcops.core.options import HELP

app = typer.Typer(
    help=HELP["ipcops"],
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,  # rich's help costs as much time as a whole audit
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:  # Typer's callback signature
    if wanted:
        typer.echo("ipcops %s" % __version__)
        raise typer.Exit


@app.callback()
def top(
    context: typer.Context,
    version: bool = typer.Option(  # noqa: ARG001  # its callback did it
        False, "--version", callback=_version, is_eager=True, help=HELP["version"]
    ),
) -> None:
    """Hold the options that stand before a command; without one, print the help."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


COMMANDS = {
    "audit": ("audit", "audit"),
    "list": ("list_", "list_objects"),
    "show": ("show", "show"),
    "rules": ("rules", "rules"),
    "explain": ("explain", "explain"),
    "metrics": ("metrics", "metrics"),
    "check": ("check", "check"),
    "clean": ("clean", "clean"),
    "backup": ("backup", "backup"),
    "restore": ("restore", "restore"),
    "journal": ("journal", "journal"),
    "set": ("set_", "set_object"),
    "limits": ("limits", "app"),
    "render": ("render", "render"),
    "bundle": ("bundle", "bundle"),
    "content": ("content", "app"),
}
"""Name to file and function, or group of commands."""


def _register(words: list[str]) -> None:
    """Give Typer the command that *words* begin with; all of them where it may have to list or correct."""
    for name in words[:1] if words[:1] and words[0] in COMMANDS else COMMANDS:
        file, function = COMMANDS[name]
        command = getattr(importlib.import_module(f"ipcops.cli.{file}"), function)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, help=HELP[name], short_help=HELP[name])
        else:
            app.command(name, help=HELP[name], short_help=HELP[name])(command)


def main() -> None:
    """Run the command line; the exit status is the command's."""
    gc.disable()  # one short run that only grows: collecting would cost a tenth and free nothing
    _register(sys.argv[1:])
    plugin = sys.argv[1:2] == ["check"]
    sys.exit(guarded(_as_plugin if plugin else app, debug="--debug" in sys.argv, name="ipcops", plugin=plugin))


def _as_plugin() -> int:
    """Run ``check``: a wrong command line is told as its other errors are, for 2 would mean CRITICAL."""
    from ipcops.core.errors import InputError

    try:
        return int(app(standalone_mode=False) or 0)
    except Exception as error:
        if hasattr(error, "format_message"):  # Click's, which Typer has a copy of under a name of its own
            raise InputError("%s; see --help" % error.format_message()) from error
        raise
