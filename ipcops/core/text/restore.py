"""What was backed up, put back or set, in words."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Mapping

from ..columns import owner
from ..layout import Block, Para, Span, para, printable
from ..model import Report
from ..rules.base import size
from .common import name_of

MOST_NAMED = 12
"""More objects than this that came back alike are counted."""


def restore(report: Report) -> Iterator[Block]:
    """Yield what came back, and what did not."""
    restored, refused, present = report["restored"], report["refused"], report["present"]
    words = "%s came back" % ("1 object" if len(restored) == 1 else "%d objects" % len(restored))
    if present:
        words += "; %d had come back before" % len(present)
    yield para(words + ("; %d did not." % len(refused) if refused else "."), "strong")
    plain: Dict[str, List[str]] = {}
    for one in restored:
        plain.setdefault(_note(one), []).append(name_of(one))
    for note, names in plain.items():  # those without a word of their own are one line
        more = len(names) - MOST_NAMED
        yield _line("back", "info", ", ".join(names[:MOST_NAMED]) + (", and %d more" % more if more > 0 else "") + note)
    for one in refused:
        yield _line("refused", "medium", "%s: %s" % (name_of(one["object"]), one["why"]))


def backup(report: Report) -> Iterator[Block]:
    """Yield what was backed up, and how to put it back."""
    saved, failed = report["saved"], report["failed"]
    words = "%s backed up; nothing was removed" % ("1 object" if len(saved) == 1 else "%d objects" % len(saved))
    yield para(words + ("; %d could not be." % len(failed) if failed else "."), "strong")
    for one in saved:
        yield _line("saved", "info", "%s of %s%s" % (name_of(one), owner(one), _held(one)))
    for one in failed:
        yield _line("failed", "medium", "%s: %s" % (name_of(one), one["why"]))
    if report["backup"]:
        yield _command("In %s. To put it back: " % report["path"], "ipcops restore %s" % report["backup"])


def changed(report: Report) -> Iterator[Block]:
    """Yield what was set, and how to undo it."""
    name = name_of(report["object"])
    for one in report["changed"]:
        yield para("%s: %s is %s now, and was %s." % (name, one["name"], one["now"], one["before"]))
    if report["undo"]:
        yield _command("To undo it: ", "ipcops restore %s" % report["undo"])
    else:
        yield para("%s was so already; nothing was changed." % name)


def _command(before: str, command: str) -> Para:
    return Para((Span(printable(before), "quiet"), Span(printable(command), "command")), 0, 4)


def _line(word: str, style: str, text: str) -> Para:
    return Para((Span("%-8s" % word, style), Span(printable(text))), 0, 8)


def _note(one: Mapping[str, Any]) -> str:
    return "; " + one["note"] if one.get("note") else ""


def _held(one: Mapping[str, Any]) -> str:
    return ", %s" % size(one["bytes"]) if one.get("bytes") else ""
