"""Reports as text for a person: one file per report, each yielding the blocks to show.

Nothing here decides anything: it words what the report dictionary says.
"""

from __future__ import annotations

from typing import Callable, Dict, Iterator

from ..layout import Block
from ..model import Report
from .audit import audit
from .clean import clean
from .explain import explain
from .journal import journal
from .objects import details, objects
from .restore import backup, changed, restore
from .rules import rules

LAYOUTS: Dict[str, Callable[[Report], Iterator[Block]]] = {
    "audit": audit,
    "list": objects,
    "show": details,
    "rules": rules,
    "explain": explain,
    "clean": clean,
    "backup": backup,
    "restore": restore,
    "journal": journal,
    "set": changed,
}
"""Command to the function that lays out its report."""
