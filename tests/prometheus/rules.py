"""The alert rules, rendered with other settings, for tests."""

from __future__ import annotations

from ipcops.render import templates


def rendered(**changes: str) -> str:
    """Return the rules as ``ipcops render alerts --set …`` gives them."""
    return templates.rendered("alerts", changes)
