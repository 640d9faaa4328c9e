"""Objects that stand in the way by their mode or their name, and what is wrong with a request by itself.

ipc/util.c (ipcget, ipcperms), fs/namei.c (may_create_in_sticky), svipc(7), capabilities(7).
"""

from __future__ import annotations

from typing import Callable, Dict, Iterator, List, Tuple

from ..columns import counted as objects_in_words
from ..model import OVERFLOW_ID, SYSV_KINDS, Table
from ..rules.base import shm_place, size
from .cause import MOST, Cause, UnseenError, View, amount, unknown

Ask = Callable[[View], Iterator[Cause]]

READ, WRITE = 0o4, 0o2
_WORDS = {READ: "reading", WRITE: "writing", READ | WRITE: "reading and writing"}


def refused(kind: str, wanted: int, *, by_key: bool) -> Ask:
    """Return who yields the objects whose mode refuses the caller what the call asks for.

    *by_key*: a call that names the object by its key reaches no private one.
    """

    def ask(view: View) -> Iterator[Cause]:
        about = Cause("mode", "object", "", "", "", None, "objects")
        try:
            table = view.table(kind)
        except UnseenError as error:
            yield unknown(about, str(error))
            return
        rows = [row for row in range(len(table)) if not (by_key and not table["key"][row])]
        right = None
        if kind in SYSV_KINDS:
            right = view.right("CAP_IPC_OWNER", over_ipc=True)
        else:
            right = view.right("CAP_DAC_OVERRIDE", over_ipc=True)
        closed = [row for row in _closed(view, table, rows, wanted) if not (right and _mapped(view, table, row))]
        yield from _refusal(view, about._replace(passes=right), table, closed, (len(rows), wanted))

    return ask


def _mapped(view: View, table: Table, row: int) -> bool:
    return view.caller.initial_user_namespace or OVERFLOW_ID not in (table["uid"][row], table["gid"][row])


def _closed(view: View, table: Table, rows: List[int], wanted: int) -> List[int]:
    """Return those of *rows* whose mode alone refuses the caller any of *wanted*."""
    names = [name for name in ("uid", "gid", "cuid", "cgid", "mode") if name in table]
    known: Dict[Tuple[int, ...], bool] = {}
    closed = []
    for row in rows:
        facts = tuple(table[name][row] for name in names)
        if facts not in known:
            known[facts] = bool(wanted & ~_granted(view, dict(zip(names, facts))))
        if known[facts]:
            closed.append(row)
    return closed


def _granted(view: View, facts: Dict[str, int]) -> int:
    """Return the bits of a mode that hold for the caller: the owner's, else the group's, else the others'."""
    caller, mode = view.caller, facts["mode"]
    if caller.euid in (facts["uid"], facts.get("cuid")):
        return mode >> 6 & 7
    if facts["gid"] in caller.gids or facts.get("cgid") in caller.gids:
        return mode >> 3 & 7
    return mode & 7


def _refusal(view: View, about: Cause, table: Table, closed: List[int], asked: Tuple[int, int]) -> Iterator[Cause]:
    count, wanted = asked
    whose = objects_in_words(table.kind, count) + (" with a key" if "key" in table else "")
    if not count:
        yield about._replace(state="free", why="there are %s that could refuse" % whose, used=0, max=0)
        return
    what, you = _WORDS[wanted], view.you
    if closed:
        why = "of %s %d refuse%s %s %s" % (whose, len(closed), "s" if len(closed) == 1 else "", you, what)
        remedy = "act as the owner or in the group; or have its program create it with a mode that lets you"
        yield about._replace(
            state="per-request", why=why, remedy=remedy, used=len(closed), max=count, objects=view.named(table, closed)
        )
        return
    why = "of %s none refuses %s %s" % (whose, you, what)
    if about.passes:
        why += ", since you have %s; for another user: runuser -u USER -- ipcops explain" % about.passes
    yield about._replace(state="free", why=why, used=0, max=count)


def protected_regular(view: View) -> Iterator[Cause]:
    """Yield the files of others that O_CREAT is refused for, whatever their mode, even to root."""
    about = Cause("protected_regular", "object", "", "", "", "fs.protected_regular", "objects")
    mount = view.snapshot.shm_mount
    setting = view.caller.values.get("fs.protected_regular", 0)
    try:
        table = view.table("posix-shm")
    except UnseenError as error:
        yield unknown(about, str(error))
        return
    if not setting or mount is None or not mount.mode & 0o1000 or not mount.mode & 0o002:
        why = "fs.protected_regular is %d: it refuses nothing in %s" % (setting, shm_place(view.case))
        yield about._replace(state="free", why=why)
        return
    rows = [row for row, uid in enumerate(table["uid"]) if uid not in (view.caller.euid, 0)]
    why = (
        "fs.protected_regular is %d: in %s O_CREAT is refused for a file of somebody else, whatever its mode; %d are"
        % (setting, shm_place(view.case), len(rows))
    )
    yield about._replace(
        state="per-request" if rows else "free",
        why=why,
        remedy="open what exists without O_CREAT",
        used=len(rows),
        max=len(table),
        objects=view.named(table, rows),
    )


def taken(kind: str) -> Ask:
    """Return who yields the names or keys that exist already."""

    def ask(view: View) -> Iterator[Cause]:
        by_key = kind in SYSV_KINDS
        word = "key" if by_key else "name"
        about = Cause(word, "object", "", "", "", None, "objects")
        try:
            table = view.table(kind)
        except UnseenError as error:
            yield unknown(about, str(error))
            return
        rows = [row for row in range(len(table)) if not by_key or table["key"][row]]
        flags = "IPC_CREAT | IPC_EXCL" if by_key else "O_CREAT | O_EXCL"
        example = "%s:%s" % (kind, "KEY" if by_key else "/NAME")
        yield about._replace(
            state="per-request" if rows else "free",
            used=len(rows),
            objects=view.named(table, rows),
            why="%s %s taken; with %s each of them is refused" % (
                amount(len(rows), None), "%s is" % word if len(rows) == 1 else "%ss are" % word, flags,
            ),
            remedy="choose another %s, or leave out %s; ipcops show %s tells whose it is and whether it is abandoned"
            % (word, flags.split(" | ")[1], example),
        )  # fmt: skip

    return ask


def request(words: str, remedy: str) -> Ask:
    """Return who yields what makes a request wrong by itself."""

    def ask(view: View) -> Iterator[Cause]:  # noqa: ARG001  # the same for everybody
        yield Cause("the request itself", "request", "per-request", words, remedy)

    return ask


def memory(view: View) -> Iterator[Cause]:
    """Yield how much memory the kernel has for its own: it counts no limit, so only this can be told."""
    remedy = "free memory, or raise MemoryMax= of the unit if its control group is at its limit"
    about = Cause("memory", "host", "", "", remedy, None, "bytes")
    try:
        most, left = view.value("MemTotal"), view.value("MemAvailable")
    except UnseenError as error:
        yield unknown(about, str(error))
        return
    share = 1 - left / most if most else 1.0
    why = "the kernel counts no limit here; %s of %s of memory are available, and a control group may allow less"
    state = "near" if share >= view.case.policy["audit", "near_limit"] else "free"
    tables = [table for table in map(view.case.table, view.snapshot.kinds) if table is not None and "size" in table]
    sizes: Dict[int, int] = {}
    for table in tables:
        for uid, length in zip(table["uid"], table["size"]):
            sizes[uid] = sizes.get(uid, 0) + length
    users = [view.who(uid, sizes[uid]) for uid in sorted(sizes, key=lambda one: (-sizes[one], one))[:MOST]]
    yield about._replace(state=state, why=why % (size(left), size(most)), left=left, users=users)
