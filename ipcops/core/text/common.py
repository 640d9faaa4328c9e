"""What every report says in the same words: names of objects, and what was not seen."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Mapping, Sequence

from ..layout import Block, para
from ..model import Report

SKIPPED_SHOWN = 3


def name_of(one: Mapping[str, Any]) -> str:
    """Return how the command line calls the object of a finding or an object row."""
    if one.get("path") is not None:
        return "%s:%s" % (one["kind"], one["path"])
    return "%s:%s" % (one["kind"], one["id"])


def listed(parts: Sequence[str], last: str = "and") -> str:
    """Return words as a list in running text."""
    return parts[0] if len(parts) == 1 else "%s %s %s" % (", ".join(parts[:-1]), last, parts[-1])


def not_seen(report: Report) -> Iterator[Block]:
    """Yield the gaps of a scan, and what else is worth a note."""
    for note in report["notes"]:
        yield para("Note: %s." % note, "quiet", 0, 6)
    skipped = report["scan"]["skipped"]
    if not skipped:
        return
    by_why: Dict[str, List[str]] = {}
    for gap in skipped:
        by_why.setdefault(gap["why"], []).append(gap["what"])
    yield para("Not seen, and what depends on it is unknown:", "quiet")
    for why, whats in by_why.items():
        more = len(whats) - SKIPPED_SHOWN
        words = ", ".join(whats[:SKIPPED_SHOWN]) + (" and %d more" % more if more > 0 else "")
        yield para("%s: %s" % (words, why), "quiet", 2, 2)
    if not report["scan"]["privileged"]:
        yield para("Root sees more.", "quiet", 2)
