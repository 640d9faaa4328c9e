"""``ipcops content``."""

from __future__ import annotations

import typer

from ipcops.cli.common import Debug, Output, end
from ipcops.core.options import HELP

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def content() -> None:
    """Be a group, though there is one command in it."""


@app.command("path", help=HELP["content path"])
def path(output: Output = None, debug: Debug = False) -> None:
    """Print where the collection lies."""

    def work() -> int:
        from ipcops.content import collections  # --help needs none of it
        from ipcops.core.deliver import deliver

        deliver(iter([collections() + "\n"]), output)
        return 0

    end(work, debug=debug)
