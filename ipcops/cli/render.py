"""``ipcops render``."""

from __future__ import annotations

from typing import Annotated

import typer

from ipcops.cli.common import Debug, Output, end
from ipcops.core.errors import InputError
from ipcops.core.options import HELP


def render(
    template: Annotated[str | None, typer.Argument(metavar="TEMPLATE", help=HELP["template"])] = None,
    list_all: Annotated[bool, typer.Option("--list", help=HELP["list_templates"])] = False,
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Render one of the templates."""

    def work() -> int:
        from ipcops.core.deliver import deliver  # --help needs none of it
        from ipcops.show.templates import TEMPLATES, rendered

        if list_all:
            deliver(iter(["%-22s%s\n" % (name, one.about) for name, one in TEMPLATES.items()]), output)
            return 0
        if template is None:
            raise InputError("no template was named; 'ipcops render --list' lists them")
        deliver(iter([rendered(template)]), output)
        return 0

    end(work, debug=debug)
