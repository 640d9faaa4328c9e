"""Reports to people and programs: one renderer per format, and the choice between them."""

from __future__ import annotations

import shutil
import sys
from typing import Any

from ipcops.core import deliver as core


def deliver(request: dict[str, Any], report: dict[str, Any]) -> None:
    """Show a report as it was asked for: in colour on a terminal, plain or JSON anywhere else.

    Raise WriteError.
    """
    width = shutil.get_terminal_size((80, 24)).columns
    if request["format"] == "table" and request.get("output") is None and sys.stdout and sys.stdout.isatty():
        from ipcops.core.text import LAYOUTS
        from ipcops.show.terminal import pieces  # loads rich

        core.deliver(pieces(LAYOUTS[request["command"]](report), width), None)
        return
    core.deliver(core.text_of(request, report, width), request.get("output"))
