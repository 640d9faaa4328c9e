"""Reports as text for a person: one file per report, each yielding the blocks to show.

Nothing here decides anything: it words what the report dictionary says.
"""

from __future__ import annotations

import importlib
from typing import Dict, Iterator, Tuple

from ..layout import Block
from ..model import Report

LAYOUTS: Dict[str, Tuple[str, str]] = {
    "audit": ("audit", "audit"),
    "list": ("objects", "objects"),
    "show": ("objects", "details"),
    "rules": ("rules", "rules"),
    "explain": ("explain", "explain"),
    "clean": ("clean", "clean"),
    "backup": ("restore", "backup"),
    "restore": ("restore", "restore"),
    "journal": ("journal", "journal"),
    "set": ("restore", "changed"),
    "limits": ("limits", "limits"),
}
"""Command to the file here, and the function in it, that lays out its report: only that file is loaded."""


def laid_out(command: str, report: Report) -> Iterator[Block]:
    """Return the blocks of a command's report."""
    file, function = LAYOUTS[command]
    blocks: Iterator[Block] = getattr(importlib.import_module("." + file, __name__), function)(report)
    return blocks
