"""Which columns a table of objects has: one list per kind, most important first of the optional.

An optional column is shown where the terminal is wide enough; ``why`` takes what is left.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Tuple

from .rules.base import size
from .tuples import NamedTuple
from .verdicts.case import duration

Object = Mapping[str, Any]


class Show(NamedTuple):
    """One column: its heading, how to get its text, where it is aligned, when it may go."""

    heading: str
    text: Callable[[Object], str]
    right: bool = False
    optional: int = 0
    """0: always there; otherwise the order in which columns appear as the width grows."""


def owner(one: Object) -> str:
    """Return who owns an object, in a word."""
    who = one["owner"]
    if who["uid"] is None:
        return "-"
    return str(who["user"] or "uid %d" % who["uid"])


def holders(one: Object) -> str:
    """Return the processes that hold an object: the first, and how many more."""
    if not one["holders"]:
        return "-"
    first = one["holders"][0]
    more = len(one["holders"]) - 1
    return "%d (%s)" % (first["pid"], first["command"]) + (" +%d" % more if more else "")


def _protection(one: Object) -> str:
    return one["protection"]["name"] if one["protection"] else "-"


def _last_use(one: Object) -> str:
    """Return how long ago: what only counts as in use since its last user lives may be long unused."""
    return "now" if (one["verdict"], one["confidence"]) == ("in-use", "certain") else duration(one["age"])


_ID = Show("ID", lambda one: str(one["id"]), right=True)
_KEY = Show("KEY", lambda one: one["key"], optional=1)
_NAME = Show("NAME", lambda one: one["path"])
_OWNER = Show("OWNER", owner)
_MODE = Show("MODE", lambda one: one["mode"] or "-", optional=2)
_SIZE = Show("SIZE", lambda one: size(one["size"]), right=True)
_AGE = Show("LAST USE", _last_use, right=True)
_VERDICT = Show("VERDICT", lambda one: one["verdict"])
_PROTECTED = Show("PROTECTED", _protection, optional=3)
_HOLDERS = Show("HOLDERS", holders, optional=4)
_STATE = Show("STATE", lambda one: one["state"])
_WHY = Show("WHY", lambda one: "; ".join(one["reasons"]))


def _ends(one: Object) -> str:
    """Return how many processes have the reading and the writing end of a pipe or FIFO open."""
    ends = [[end for end in one["holders"] if access in end["access"]] for access in ("read", "write")]
    return "%d/%d" % (len(ends[0]), len(ends[1]))


_ENDS = Show("READERS/WRITERS", _ends, right=True)


def _or_dash(heading: str, name: str, optional: int = 0) -> Show:
    return Show(heading, lambda one: str(one[name]) if one[name] is not None else "-", optional=optional)


def _fill(one: Object) -> str:
    return "-" if one["fill"] is None else "%d/%d" % (one["fill"], one["capacity"])


def _queue(one: Object) -> str:
    """Return how many connections a listener has waiting, of how many it takes."""
    return "%d/%d" % (one["rqueue"], one["wqueue"]) if one["state"] == "listen" else "-"


def _range(one: Object) -> str:
    return "%d-%s" % (one["start"], "EOF" if one["end"] is None else one["end"])


def _count(heading: str, name: str) -> Show:
    return Show(heading, lambda one: "-" if one[name] is None else str(one[name]), right=True)


COLUMNS: Dict[str, Tuple[Show, ...]] = {
    "shm": (_ID, _KEY, _OWNER, _MODE, _SIZE, _count("ATTACHED", "nattch"), _AGE, _VERDICT, _PROTECTED, _HOLDERS, _WHY),
    "sem": (_ID, _KEY, _OWNER, _MODE, _count("SEMAPHORES", "nsems"), _AGE, _VERDICT, _PROTECTED, _WHY),
    "msg": (
        _ID, _KEY, _OWNER, _MODE, _count("MESSAGES", "qnum"), _count("BYTES", "cbytes"), _count("OF", "qbytes"),
        _AGE, _VERDICT, _PROTECTED, _WHY,
    ),
    "posix-shm": (_NAME, _OWNER, _MODE, _SIZE, _AGE, _VERDICT, _PROTECTED, _HOLDERS, _WHY),
    "posix-sem": (_NAME, _OWNER, _MODE, _AGE, _VERDICT, _PROTECTED, _HOLDERS, _WHY),
    "posix-mq": (
        _NAME, _OWNER, _MODE, _count("MESSAGES", "curmsgs"), _count("OF", "maxmsg"),
        _AGE, _VERDICT, _PROTECTED, _HOLDERS, _WHY,
    ),
    "fifo": (_NAME, _OWNER, _MODE, _ENDS, _AGE, _VERDICT, _HOLDERS, _WHY),
    "pipe": (_ID, _OWNER, Show("BYTES", _fill, right=True), _ENDS, _VERDICT, _HOLDERS, _WHY),
    "unix": (
        _or_dash("NAME", "path"), _or_dash("ID", "id", 5), _OWNER, _MODE, _or_dash("TYPE", "type", 3), _STATE,
        Show("QUEUE", _queue, right=True, optional=1), _VERDICT, _HOLDERS, _WHY,
    ),
    "inet": (
        _NAME, _or_dash("ID", "id", 5), _OWNER, _STATE, Show("QUEUE", _queue, right=True), _VERDICT, _HOLDERS, _WHY,
    ),
    "lock": (
        Show("NAME", lambda one: one["path"] or one["id"]), _OWNER, _or_dash("TYPE", "type"),
        _or_dash("ACCESS", "access", 1), Show("RANGE", _range, optional=2),
        Show("WAITING", lambda one: str(len(one["waiters"])), right=True), _HOLDERS, _WHY,
    ),
}  # fmt: skip

KIND_NAMES: Dict[str, Tuple[str, str]] = {
    "shm": ("System V segment", "System V segments"),
    "sem": ("semaphore set", "semaphore sets"),
    "msg": ("message queue", "message queues"),
    "posix-shm": ("POSIX shared memory file", "POSIX shared memory files"),
    "posix-sem": ("named semaphore", "named semaphores"),
    "posix-mq": ("POSIX queue", "POSIX queues"),
    "fifo": ("FIFO", "FIFOs"),
    "pipe": ("pipe", "pipes"),
    "unix": ("Unix socket", "Unix sockets"),
    "inet": ("listening network socket", "listening network sockets"),
    "lock": ("file lock", "file locks"),
    "sysctl": ("kernel setting", "kernel settings"),
    "file": ("file", "files"),
}


def counted(kind: str, count: int) -> str:
    """Return a number of objects in words."""
    return "%d %s" % (count, KIND_NAMES[kind][count != 1])
