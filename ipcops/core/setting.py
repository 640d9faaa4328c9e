"""Mode, owner and size limit of an object: set in one step, written down, and undone from the journal.

A file is held by its descriptor while it is changed, so that no other can take its name meanwhile.
"""

from __future__ import annotations

import grp
import os
import pwd
from typing import Any, Callable, Dict, Mapping, Optional, Sequence

from .change import Change
from .errors import InputError, IpcopsError, unknown_word
from .fs import Directory, Roots, set_pinned_mode, set_pinned_owner
from .journal import Journal
from .kernel import Kernel
from .model import SYSV_KINDS
from .tuples import NamedTuple

FIELDS = ("mode", "owner", "qbytes")
_PERMISSIONS = 0o777

Values = Dict[str, int]
"""Some of ``mode``, ``uid``, ``gid`` and ``qbytes``."""


class Thing(NamedTuple):
    """An object that is to be changed, and what is known of it."""

    kind: str
    id: Optional[int]
    key: Optional[int]
    path: Optional[str]
    namespace: int
    dev: Optional[int] = None
    ino: Optional[int] = None

    def described(self, uid: Optional[int]) -> Dict[str, Any]:
        """Return it as the journal names objects."""
        return {
            "kind": self.kind,
            "id": self.id,
            "key": None if self.key is None else "0x%08x" % self.key,
            "path": self.path,
            "namespace": self.namespace,
            "uid": uid,
            "dev": self.dev,
            "ino": self.ino,
        }

    @property
    def name(self) -> str:
        """How the command line calls it."""
        return "%s:%s" % (self.kind, self.id if self.path is None else self.path)


def parse_changes(words: Sequence[str], kind: str) -> Values:
    """Return what ``mode=0600``, ``owner=USER[:GROUP]`` and ``qbytes=N`` ask for. Raise InputError."""
    wanted: Values = {}
    for word in words:
        name, equals, text = word.partition("=")
        if name not in FIELDS:
            raise unknown_word("field", name, FIELDS)
        if not equals or not text:
            raise InputError("'%s' sets nothing; write %s" % (word, _EXAMPLES[name]))
        if name == "mode":
            wanted["mode"] = _mode(text)
        elif name == "owner":
            wanted.update(_owner(text))
        elif kind != "msg":
            raise InputError("only a message queue (msg) has qbytes; %s has none" % kind)
        else:
            wanted["qbytes"] = _qbytes(text)
    return wanted


_EXAMPLES = {"mode": "mode=0600", "owner": "owner=USER or owner=USER:GROUP", "qbytes": "qbytes=65536"}


def _mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= _PERMISSIONS:
        raise InputError("'%s' is no mode; write it in octal from 0 to 0777, such as mode=0600" % text)
    return mode


def _qbytes(text: str) -> int:
    if not text.isdigit() or int(text) >= 1 << 63:
        raise InputError("'%s' is no number of bytes; write digits alone, such as qbytes=65536" % text)
    return int(text)


def _owner(text: str) -> Values:
    user, colon, group = text.partition(":")
    found: Values = {}
    if user:
        found["uid"] = _number("user", user, lambda name: pwd.getpwnam(name).pw_uid)
    if group:
        found["gid"] = _number("group", group, lambda name: grp.getgrnam(name).gr_gid)
    if not found or (colon and not group):
        raise InputError("'owner=%s' names nobody; write %s" % (text, _EXAMPLES["owner"]))
    return found


def _number(what: str, word: str, look_up: Callable[[str], int]) -> int:
    try:
        return look_up(word)
    except KeyError:
        if word.isdigit() and int(word) < (1 << 32) - 1:  # the last one means nobody (chown(2))
            return int(word)
        raise InputError("this host has no %s '%s'" % (what, word)) from None


def put(
    thing: Thing, wanted: Values, journal: Optional[Journal], change: Change, roots: Roots, kernel: Kernel
) -> Optional[str]:
    """Set the *wanted* values of an object and write it down. Return the name of the batch; ``None`` if all was so.

    Without a *journal* nothing is set, and the batch has no name. Raise IpcopsError when it is gone or may not be
    changed; WriteError when that could not be written down.
    """
    with _holding(thing, change, roots, kernel) as held:
        now = held.values()
        before = {name: now[name] for name in wanted}
        if before == wanted:
            return None
        if journal is None:
            return ""
        batch = journal.begin()
        journal.intent(
            batch, 0, "change", thing.described(now["uid"]), before=_written(before), after=_written(wanted)
        )
        try:
            held.set({**now, **wanted}, [name for name in wanted if before[name] != wanted[name]])
        except OSError as error:
            why = _refused(error)
            journal.outcomes(batch, [(0, "failed", thing.name, why)])
            journal.end()
            raise IpcopsError("%s cannot be changed: %s" % (thing.name, why)) from error
        journal.outcomes(batch, [(0, "changed", thing.name, told_change(before, wanted))])
        journal.end()
        return batch


def _refused(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "%s; only its owner, its creator or root may" % error.strerror
    return str(error.strerror)


def told_change(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    """Return a change in words: ``mode 0666 to 0600``."""
    shown = {name: ("%04o" if name == "mode" else "%d") for name in after}
    parts = [
        "%s %s to %s" % (name, shown[name] % before[name], shown[name] % after[name])
        for name in after
        if before[name] != after[name]
    ]
    return ", ".join(parts)


def _written(values: Values) -> Dict[str, Any]:
    return {name: "0%o" % value if name == "mode" else value for name, value in values.items()}


def unwritten(values: Any) -> Values:
    """Return the values of a journal's ``before`` or ``after``. Raise ValueError."""
    try:
        read = {name: int(value, 8) if name == "mode" else int(value) for name, value in values.items()}
    except (AttributeError, TypeError) as error:
        raise ValueError("these are no values") from error
    if not read.keys() <= {"mode", "uid", "gid", "qbytes"}:
        raise ValueError("these are no values of an object")
    return read


def undo(
    entry: Mapping[str, Any], journal: Optional[Journal], change: Change, roots: Roots, kernel: Kernel
) -> Optional[str]:
    """Put back what a journal's entry says an object was before. Return a note, ``None`` if it was so already.

    Without a *journal* nothing is put back. Raise IpcopsError.
    """
    what = entry["object"]
    key = what["key"]
    thing = Thing(
        what["kind"], what["id"], None if key is None else int(key, 16), what["path"], what["namespace"],
        what.get("dev"), what.get("ino"),
    )  # fmt: skip
    batch = put(thing, unwritten(entry["before"]), journal, change, roots, kernel)
    return None if batch is None else told_change(unwritten(entry["after"]), unwritten(entry["before"]))


# ---------------------------------------------------------------- objects held while they are changed


class _Segment:
    """A System V object of any kind, known by its id and key."""

    def __init__(self, thing: Thing, change: Change) -> None:
        self.thing, self.change = thing, change

    def __enter__(self) -> _Segment:  # noqa: PYI034  # Python 3.9 has no Self
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def values(self) -> Values:
        thing = self.thing
        row = self.change.stat(thing.kind, thing.id or 0)
        if row is None or row["key"] != thing.key:
            raise IpcopsError("%s is gone, or is another object by now; nothing was changed" % thing.name)
        found = {name: row[name] for name in ("uid", "gid", "qbytes") if name in row}
        return {"mode": row["mode"] & _PERMISSIONS, **found}

    def set(self, values: Values, names: Sequence[str]) -> None:
        kind, number = self.thing.kind, self.thing.id or 0
        if "qbytes" in names:  # first, since whoever gives it away may not change it any more
            self.change.set_qbytes(number, values["qbytes"])
        if "mode" in names:
            self.change.set_mode(kind, number, values["mode"])
        if "uid" in names or "gid" in names:
            self.change.set_owner(kind, number, values["uid"], values["gid"])


class _File:
    """A file in /dev/shm or the file of a POSIX queue, known by its device and inode."""

    def __init__(self, thing: Thing, directory: Directory) -> None:
        self.thing, self.directory = thing, directory
        self.fd = -1

    def __enter__(self) -> _File:  # noqa: PYI034
        try:
            self.fd = self.directory.pin((self.thing.path or "/")[1:])
        except OSError as error:
            self.directory.close()
            raise IpcopsError("%s cannot be changed: %s" % (self.thing.name, error.strerror)) from error
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
        self.directory.close()

    def values(self) -> Values:
        found = os.fstat(self.fd)
        if (found.st_dev, found.st_ino) != (self.thing.dev, self.thing.ino):
            raise IpcopsError("%s is another file by now; nothing was changed" % self.thing.name)
        return {"mode": found.st_mode & _PERMISSIONS, "uid": found.st_uid, "gid": found.st_gid}

    def set(self, values: Values, names: Sequence[str]) -> None:
        if "mode" in names:
            set_pinned_mode(self.fd, values["mode"])
        if "uid" in names or "gid" in names:
            set_pinned_owner(self.fd, values["uid"], values["gid"])


def _holding(thing: Thing, change: Change, roots: Roots, kernel: Kernel) -> Any:
    if thing.kind in SYSV_KINDS:
        return _Segment(thing, change)
    try:
        directory = roots.shm() if thing.kind != "posix-mq" else _queues(kernel)
    except OSError as error:
        raise IpcopsError("%s cannot be reached: %s" % (thing.name, error.strerror)) from error
    return _File(thing, directory)


def _queues(kernel: Kernel) -> Directory:
    try:
        return Directory(kernel.mqueue_directory())
    except PermissionError:  # an ordinary user: through the mount that everybody sees
        return Directory.open("/dev/mqueue")
