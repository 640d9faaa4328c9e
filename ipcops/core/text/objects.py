"""Objects in words: a table for each kind, or all that is known of single ones."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ..columns import COLUMNS, KIND_NAMES, counted
from ..layout import BLANK, Block, Grid, ObjectGrid, para, printable
from ..model import Report
from ..rules.base import size
from ..verdicts.case import duration
from .common import listed, name_of, not_seen

_TIMES = frozenset(("atime", "dtime", "ctime", "otime", "stime", "rtime", "mtime"))
_LEFT_OUT = frozenset(
    (
        "kind", "id", "path", "verdict", "confidence", "reasons", "protection", "holders", "waiters", "semaphores",
        "connections", "age",
    )
)  # fmt: skip

CONNECTIONS_SHOWN = 1000
_PEOPLE = ("pid", "tid", "command", "call", "fd", "access", "unit", "container", "started_at")


def objects(report: Report) -> Iterator[Block]:
    """Yield the objects, a table for each kind."""
    groups: Dict[Tuple[str, Optional[str]], List[Mapping[str, Any]]] = {}
    for one in report["objects"]:
        groups.setdefault((one["kind"], one["place"]), []).append(one)
    order = report["scan"]["kinds"]
    for number, (kind, place) in enumerate(sorted(groups, key=lambda one: order.index(one[0]))):
        if number:
            yield BLANK
        members, columns = groups[kind, place], COLUMNS[kind]
        yield para(counted(kind, len(members)) + (" in %s" % place if place else ""), "strong")
        yield ObjectGrid(columns, [[printable(column.text(one)) for column in columns] for one in members])
    if not groups:
        names = listed([KIND_NAMES[kind][1] for kind in report["scan"]["kinds"]])
        yield para("Nothing to list among %s." % names, "strong")
    if report["scan"]["skipped"]:
        yield BLANK
    yield from not_seen(report)


def details(report: Report) -> Iterator[Block]:
    """Yield all that is known of each object."""
    for number, one in enumerate(report["objects"]):
        if number:
            yield BLANK
        yield para("%s is %s (%s)" % (name_of(one), one["verdict"], one["confidence"]), "strong")
        for reason in one["reasons"]:
            yield para(reason, "plain", 2, 2)
        guard = one["protection"]
        if guard:
            yield para("protected by [protect %s]: %s" % (guard["name"], guard["reason"]), "plain", 2, 2)
        yield BLANK
        rows = [[name, _value(name, value, report)] for name, value in one.items() if name not in _LEFT_OUT]
        yield Grid(("", ""), rows, (False, False))
        for title, members in (("holders", one["holders"]), ("waiters", one["waiters"])):
            if members:
                yield BLANK
                yield para(title, "strong")
                headings = [name for name in _PEOPLE if any(one.get(name) is not None for one in members)]
                yield Grid(
                    [name.upper().replace("_", " ") for name in headings],
                    [[_value(name, member[name], report) for name in headings] for member in members],
                    [name in ("pid", "tid", "fd") for name in headings],
                )
        if "connections" in one:
            yield BLANK
            yield from _connections(one)
        if one.get("semaphores"):
            yield BLANK
            yield para("semaphores", "strong")
            names = ("number", "value", "pid", "ncnt", "zcnt")
            yield Grid(
                [name.upper() for name in names],
                [[str(member[name]) for name in names] for member in one["semaphores"]],
                [True] * len(names),
            )
    if report["scan"]["skipped"]:
        yield BLANK
    yield from not_seen(report)


def _connections(one: Mapping[str, Any]) -> Iterator[Block]:
    """Yield both ends of each connection of a socket, as many as a person can want."""
    found = one["connections"]
    if not found:
        yield para("no connections", "strong")
        return
    yield para("connections", "strong")
    rows = []
    for member in found[:CONNECTIONS_SHOWN]:
        ends = (
            (member["state"], member["id"], _who(member["holders"], member["note"]), member["local"]),
            ("  with", member["peer"], _who(member["peer_holders"], member["peer_note"]), member["remote"]),
        )
        rows += [["-" if cell is None else printable(str(cell)) for cell in end] for end in ends]
    yield Grid(("STATE", "ID", "HELD BY", "ADDRESS"), rows, (False, True, False, False))
    more = len(found) - CONNECTIONS_SHOWN
    if more > 0:
        yield para("and %d more; --format json has them all" % more, "quiet")


def _who(holders: Sequence[Mapping[str, Any]], note: Optional[str]) -> str:
    """Return the first of some processes, where it runs and how many more there are; without any, why."""
    if not holders:
        return note or "-"
    first, more = holders[0], len(holders) - 1
    words = "%d (%s)" % (first["pid"], first["command"]) + (" +%d" % more if more else "")
    place = first["container"] or first["unit"]
    return "%s in %s" % (words, place) if place else words


def _value(name: str, value: Any, report: Report) -> str:
    if value is None:
        return "-"
    if name in _TIMES or name == "started_at":
        if not value:
            return "never"
        ago = report["scan"]["started_at"] - value
        return "%d (%s ago)" % (value, duration(max(0, ago)))
    if name in ("size", "rss", "swap", "blocks") and value >= 1024:
        return "%d (%s)" % (value, size(value))
    if isinstance(value, dict):
        return " ".join("%s=%s" % (key, "-" if one is None else printable(str(one))) for key, one in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable(str(value))
