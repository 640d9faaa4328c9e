"""An explanation in words: the sentence that sums it up, then each cause, or a table of the closest limits."""

from __future__ import annotations

from typing import Any, Iterator, List, Mapping, Optional

from ..columns import Show
from ..layout import BLANK, GAP, Block, ObjectGrid, Para, Span, para, printable
from ..model import ENDLESS, Report
from ..rules.base import size
from .common import name_of, not_seen

_STYLES = {"reached": "high", "near": "medium", "unknown": "low", "per-request": "info", "free": "quiet"}


def explain(report: Report) -> Iterator[Block]:
    """Yield why a call fails, or which limits are closest."""
    yield para(report["summary"], "strong")
    yield BLANK
    if report["call"] is None:
        yield from _table(report["causes"])
        yield BLANK
        yield para("ipcops explain CALL [ERRNO] tells one in full.", "quiet")
    else:
        for cause in report["causes"]:
            yield from _cause(cause)
    if report["scan"]["skipped"]:
        yield BLANK
    yield from not_seen(report)


def _table(causes: List[Mapping[str, Any]]) -> Iterator[Block]:
    yield ObjectGrid(_COLUMNS, [[printable(column.text(cause)) for column in _COLUMNS] for cause in causes])


def _number(number: Optional[int], unit: Optional[str]) -> str:
    if number is None:
        return "-"
    if number >= ENDLESS:
        return "no limit"
    return size(number) if unit == "bytes" else str(number)


def _share(share: Optional[float]) -> str:
    return "-" if share is None else "%.0f %%" % (100 * share)


def _cause(cause: Mapping[str, Any]) -> Iterator[Block]:
    state = cause["state"]
    setting = cause["setting"]
    name = cause["limit"] + (" (%s)" % setting if setting and setting != cause["limit"] else "")
    title = GAP.join((cause["errno"] or "no error", name))
    yield Para((Span("%-11s" % state, _STYLES[state]), Span(GAP + printable(title), "strong")))
    yield para(cause["why"], "plain", 2)
    users = _users(cause)
    if users:
        yield para("most by %s" % users, "plain", 2, 2)
    if cause["objects"]:
        yield para("such as %s" % ", ".join(map(_object, cause["objects"])), "plain", 2, 2)
    if cause["remedy"] and state != "free":
        yield Para((Span("fix: ", "quiet"), Span(printable(cause["remedy"]), "command")), 2, 5)


def _users(cause: Mapping[str, Any]) -> str:
    words = []
    for one in cause["users"]:
        who = one["user"] or "uid %d" % one["uid"]
        if one.get("pid") is not None:
            who = "%s's pid %d (%s)" % (who, one["pid"], one["command"])
        words.append("%s %s" % (who, _number(one["count"], cause["unit"])))
    return ", ".join(words)


def _object(one: Mapping[str, Any]) -> str:
    facts = ["key %s" % one["key"]] if one.get("key") not in (None, "0x00000000") else []
    if one.get("owner") is not None:
        facts += ["of %s" % (one["owner"]["user"] or "uid %d" % one["owner"]["uid"]), "mode %s" % one["mode"]]
    known = ("kind", "id", "key", "path", "owner", "mode")
    facts += ["%s %s" % (name, value) for name, value in one.items() if name not in known]
    return "%s (%s)" % (name_of(one), ", ".join(facts))


_COLUMNS = (
    Show("LIMIT", lambda one: one["limit"]),
    Show("STATE", lambda one: one["state"]),
    Show("USED", lambda one: _number(one["used"], one["unit"]), right=True),
    Show("OF", lambda one: _number(one["max"], one["unit"]), right=True),
    Show("SHARE", lambda one: _share(one["share"]), right=True, optional=1),
    Show("ERROR", lambda one: one["errno"] or "-", optional=2),
    Show("MOST BY", lambda one: _users(one) or "-", optional=3),
    Show("CALLS", lambda one: " ".join(one["calls"])),
)
