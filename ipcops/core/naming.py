"""Objects as the command line names them, and the rows of a snapshot that they mean."""

from __future__ import annotations

from typing import List, Sequence, Tuple

from .errors import InputError, UndeterminedError, unknown_word
from .model import KINDS, REMOVABLE_KINDS, Evidence, Snapshot, Table

_PLACES = {"posix-mq": "/dev/mqueue", "posix-shm": "/dev/shm", "posix-sem": "/dev/shm"}
"""Where a kind's names lie: they may be written with it or without."""

BY_ID_OR_KEY = ("shm", "sem", "msg")


def parse_object(word: str) -> Tuple[str, str]:
    """Return kind and name of an object as the command line writes it. Raise InputError."""
    kind, colon, name = word.partition(":")
    if not colon or not name:
        raise InputError("'%s' names no object; write KIND:ID, such as shm:32768 or sem:0x1111" % word)
    if kind not in KINDS:
        raise unknown_word("kind", kind, KINDS)
    if kind in _PLACES and not name.startswith("/"):
        name = "/" + name
    if kind in BY_ID_OR_KEY:
        try:
            int(name, 0)
        except ValueError:
            raise InputError(
                "'%s' is neither an id nor a key; write %s:32768 or %s:0x1111" % (word, kind, kind)
            ) from None
    if kind == "pipe" and not name.isdigit():
        raise InputError("'%s' is no pipe; write pipe:12345, as in the link /proc/PID/fd/N" % word)
    if kind == "fifo" and not name.startswith("/"):
        raise InputError("'%s' is no path; write fifo:/run/name" % word)
    return kind, name


def require_removable(kind: str, name: str) -> None:
    """Raise InputError for an object of a kind that is only reported."""
    if kind not in REMOVABLE_KINDS:
        what = "'%s:%s': objects of this kind are only reported; it takes %s"
        raise InputError(what % (kind, name, ", ".join(REMOVABLE_KINDS)))


def matching(snapshot: Snapshot, kind: str, name: str) -> List[int]:
    """Return the rows that a name means: an id, a key in hexadecimal, or a path."""
    table = snapshot.tables.get(kind)
    return [] if table is None else rows_of(table, name)


def rows_of(table: Table, name: str) -> List[int]:
    """Return the rows of one table that a name means."""
    kind = table.kind
    if kind in BY_ID_OR_KEY and name.lower().startswith("0x"):
        number = int(name, 0) & 0xFFFFFFFF
        return [row for row, key in enumerate(table["key"]) if key == number]
    prefix = _PLACES.get(kind)
    paths = {name} if prefix is None or not name.startswith(prefix + "/") else {name, name[len(prefix) :]}
    rows = [row for row, path in enumerate(table["path"]) if path in paths] if "path" in table else []
    if "id" in table:
        ids = {str(int(name, 0)) if kind in BY_ID_OR_KEY else name}
        rows += [row for row, one in enumerate(table["id"]) if str(one) in ids]
    return sorted(set(rows))


def require_something(snapshot: Snapshot) -> None:
    """Raise UndeterminedError where none of the kinds could be looked at."""
    if not snapshot.tables and snapshot.kinds:
        unread = (gap for gap in snapshot.gaps if gap.evidence == Evidence.TABLE)
        gaps = "; ".join("%s: %s" % (gap.what, gap.why) for gap in unread)
        raise UndeterminedError("none of %s could be looked at: %s" % (", ".join(snapshot.kinds), gaps))


def require_objects(
    snapshots: Sequence[Snapshot], wanted: Sequence[Tuple[str, str]], where: str = "in this namespace"
) -> None:
    """Raise InputError for what is in none of the snapshots, UndeterminedError where that could not be seen."""
    absent = [one for one in wanted if not any(matching(snapshot, *one) for snapshot in snapshots)]
    if not absent:
        return
    unseen = [gap for kind, _ in absent for gap in snapshots[0].gaps_of(Evidence.TABLE, kind)]
    if unseen:
        what = "whether there is %s:%s could not be seen" % absent[0]
        raise UndeterminedError("%s (%s: %s)" % (what, unseen[0].what, unseen[0].why))
    names = ", ".join("%s:%s" % one for one in absent)
    listing = " ".join(dict.fromkeys(kind for kind, _ in absent))
    raise InputError("there is no %s %s; 'ipcops list %s' shows what there is" % (names, where, listing))
