"""Whether an object that was put back from a backup still stands: nobody needs it twice."""

from __future__ import annotations

import os
from typing import Any, Dict, Iterable, Mapping, Optional

from .backup import SUFFIX, find_pack
from .change import Change
from .fs import Roots
from .journal import Event, told
from .model import SYSV_KINDS

_ALIKE = {
    "shm": ("uid", "gid", "mode", "size"),
    "sem": ("uid", "gid", "mode", "nsems"),
    "msg": ("uid", "gid", "mode", "qbytes"),
    "posix-shm": ("uid", "gid", "mode", "size"),
    "posix-sem": ("uid", "gid", "mode", "size"),
    "posix-mq": ("uid", "gid", "mode"),
}
"""What an object has in common with its backup as long as nobody changed or replaced it."""
_MODE = {True: 0o777, False: 0o7777}
"""By whether it is of a System V kind: of the segments' modes some bits tell of states."""


class Returned:
    """What a journal says came back from a backup, in this boot, and was not removed since."""

    def __init__(self, entries: Iterable[Event], batch: str, boot_id: Optional[str]) -> None:
        self._found: Dict[Any, Event] = {}
        for entry in entries:  # newest first
            if entry["boot_id"] == boot_id and entry["event"] in ("restored", "removed"):
                self._found.setdefault(_identity(entry["object"]), entry)
        self._batch = batch

    def stands(self, kind: str, row: Mapping[str, Any], change: Change, roots: Roots) -> bool:
        """Whether the object that a backup has in this *row* came back from it and is as it was then."""
        entry = self._found.get(_identity({"kind": kind, **told(row)}))
        if entry is None or entry["event"] != "restored" or _batch_of(entry["source"]) != self._batch:
            return False
        now = _standing(kind, row, entry.get("now"), change, roots)
        return now is not None and all(
            _value(kind, name, now) == _value(kind, name, row) for name in _ALIKE[kind]
        )


def _identity(thing: Mapping[str, Any]) -> Any:
    return tuple(thing.get(name) for name in ("kind", "id", "key", "path", "uid"))


def _batch_of(source: str) -> str:
    """Return the batch in what ``restore`` was given."""
    path, _ = find_pack("", source)
    return os.path.basename(path).removesuffix(SUFFIX)


def _value(kind: str, name: str, values: Mapping[str, Any]) -> Any:
    return values[name] & _MODE[kind in SYSV_KINDS] if name == "mode" else values[name]


def _standing(
    kind: str, row: Mapping[str, Any], name: Optional[str], change: Change, roots: Roots
) -> Optional[Mapping[str, Any]]:
    """Return what has the key or name of an object, or of one without a key the id that it came back with."""
    try:
        if kind in SYSV_KINDS:
            number = change.find(kind, row["key"]) if row["key"] else int((name or "").partition(":")[2])
            return None if number is None else change.stat(kind, number)
        if kind == "posix-mq":
            found = change.queue_status(row["path"][1:])
            return None if found is None else {"uid": found.st_uid, "gid": found.st_gid, "mode": found.st_mode}
        with roots.shm() as directory:
            return directory.info(row["path"][1:])._asdict()
    except (OSError, ValueError):
        return None
