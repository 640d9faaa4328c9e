"""The journal in words: what was removed or changed, by whom and why, newest first."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from ..columns import counted
from ..layout import GAP, Block, Para, Span, para, printable
from ..model import Report
from .common import name_of

NAMED = 12
"""As many objects of one sort, in one run, are named."""

_EVENTS = {
    "removed": "removed", "changed": "changed", "restored": "put back", "saved": "backed up", "failed": "not done",
    "in-doubt": "in doubt", "intent": "not finished",
}  # fmt: skip
_STYLES = {"failed": "medium", "in-doubt": "medium", "intent": "medium"}


def journal(report: Report) -> Iterator[Block]:
    """Yield the entries of the journal; what one run did alike to many objects is one."""
    groups: Dict[Tuple[Any, ...], List[Mapping[str, Any]]] = {}
    for one in report["entries"]:
        owner = one["owner"]["uid"] if one["owner"] else None
        key = one["batch"], one["event"], one["command"], one["kind"], owner, one["section"], one["error"]
        groups.setdefault(key, []).append(one)
    for members in groups.values():
        yield from _group(members[::-1])
    if not groups:
        among = " of what was asked for" if report["narrowed"] else ""
        yield para("The journal tells of no removal and no change%s." % among, "strong")
    for note in report["notes"]:
        yield para("Note: %s." % note, "quiet", 0, 6)
    yield para("Read from %s." % report["journal"], "quiet")


def _group(members: List[Mapping[str, Any]]) -> Iterator[Block]:
    first = members[0]
    event = first["event"]
    names = ", ".join(map(_name, members[:NAMED])) + (", …" if len(members) > NAMED else "")
    what = names if len(members) == 1 else "%s: %s" % (counted(first["kind"], len(members)), names)
    facts = ["of %s" % _owner(first)] if first["owner"] else []
    facts.append("by %s with %s" % (_who(first["user"]), first["command"] or "?"))
    if first["section"]:
        facts.append(_section(first["section"]))
    yield Para(
        (
            Span(_when(first["time"]) + GAP),
            Span(_EVENTS[event], _STYLES.get(event, "strong")),
            Span(" " + printable(GAP.join([what, *facts]))),
        ),
        0,
        4,
    )
    such = "such as %s: " % name_of(first) if len(members) > 1 else ""
    words = [one for one in (first["error"], "; ".join(first["reasons"]), first["note"]) if one]
    if words:
        yield para(such + "; ".join(words), "plain", 4)
    if first["rollback"]:
        command = "ipcops limits rollback %s" % first["rollback"]
        yield Para((Span("to undo it: ", "quiet"), Span(printable(command), "command")), 4, 4)
    if first["restore"]:
        back = "to undo it: " if first["event"] == "changed" else "to put it back: "
        yield Para((Span(back, "quiet"), Span(printable("ipcops restore %s" % first["restore"]), "command")), 4, 4)


def _section(section: str) -> str:
    return {"command line": "as named", "job-ended": "as the job ended"}.get(section, "[remove %s]" % section)


def _name(one: Mapping[str, Any]) -> str:
    key = one["key"]
    return name_of(one) + (" (key %s)" % key if key not in (None, "0x00000000") else "")


def _owner(one: Mapping[str, Any]) -> str:
    return str(one["owner"]["user"] or "uid %d" % one["owner"]["uid"])


def _who(user: Mapping[str, Any]) -> str:
    name = user["user"] or ("somebody" if user["uid"] is None else "uid %d" % user["uid"])
    return "%s, who was %s" % (name, user["sudo_user"]) if user["sudo_user"] else str(name)


def _when(time: Optional[int]) -> str:
    """Return an epoch second as the clock on the wall shows it."""
    if time is None:
        return "-"
    return datetime.fromtimestamp(time, timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M:%S")
