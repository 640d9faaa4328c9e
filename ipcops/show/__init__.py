"""Reports to people and programs: one renderer per format, and the choice between them."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

from ipcops.core import deliver as core

if TYPE_CHECKING:
    from collections.abc import Iterator


def on_terminal(request: dict[str, Any], report: dict[str, Any]) -> Iterator[str]:
    """Return a report as it is shown on a terminal, in pieces."""
    from ipcops.core.text import laid_out
    from ipcops.show.terminal import pieces  # loads rich

    return pieces(laid_out(request["command"], report), _width())


def _width() -> int:
    return shutil.get_terminal_size((80, 24)).columns


def deliver(request: dict[str, Any], report: dict[str, Any]) -> None:
    """Show a report as it was asked for: in colour on a terminal, plain or JSON anywhere else.

    Raise WriteError.
    """
    plain = request["format"] != "table" or request["command"] in ("metrics", "check")
    if not plain and request.get("output") is None and sys.stdout and sys.stdout.isatty():
        core.deliver(on_terminal(request, report), None)
        return
    core.deliver(core.text_of(request, report, _width()), request.get("output"))
