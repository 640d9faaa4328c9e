"""Backups by themselves, the way back, the journal, and changes that can be undone: requests to reports."""

from __future__ import annotations

import os
import time
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from .apply import Means, settle
from .backup import SUFFIX, Bounds, Clock, Draft, expire, find_pack, open_pack, room
from .change import Change
from .cleanreport import held_bytes
from .collect.again import looker
from .collect.host import read_host, read_uptime
from .collect.snapshot import Look, take
from .collect.users import read_users
from .contents import ContentsError, Limits, save
from .errors import InputError, IpcopsError, WriteError, unknown_word
from .fs import Directory, Roots, make_directories
from .journal import Event, Journal, caller, described, named, read_journal, told
from .kernel import Kernel
from .model import REMOVABLE_KINDS, Action, Report, Request, Snapshot, Table
from .naming import matching, parse_object, require_objects, require_removable, require_something, rows_of
from .plan import COMMAND_LINE, EXPECT
from .policy import Policy, parse_duration
from .restore import Refused, Restored
from .restore import restore as put_back
from .setting import Thing, parse_changes, put, undo, unwritten
from .standing import Returned
from .state import State, default_path
from .tuples import NamedTuple

BACKUP_SCHEMA = "ipcops.backup/1"
RESTORE_SCHEMA = "ipcops.restore/1"
JOURNAL_SCHEMA = "ipcops.journal/1"
SET_SCHEMA = "ipcops.set/1"

LIMIT_KINDS = ("sysctl", "file")
"""What the journal has besides objects: what 'limits apply' changed."""

Name = Tuple[str, str]
"""Kind and name of an object, as the command line gives them."""


def means_of(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Means:
    """Return what a change of this host is carried out with."""
    backups = request.get("backup")
    where = None if backups is None else os.path.abspath(backups)
    return Means(roots, kernel, Change(), policy, looker(roots, kernel, policy), where)


def _state(policy: Policy) -> State:
    return State(default_path(policy, os.geteuid()))


def _named(request: Request) -> List[Name]:
    wanted = [parse_object(word) for word in request.get("objects") or ()]
    for one in wanted:
        require_removable(*one)
    return wanted


class _Found(NamedTuple):
    """The objects that were named."""

    snapshot: Snapshot
    rows: List[Tuple[Table, int]]


def _find(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> _Found:
    """Look for the objects that were named, each of which must be there. Raise InputError, UndeterminedError."""
    wanted = _named(request)
    kinds = tuple(kind for kind in REMOVABLE_KINDS if any(kind == one for one, _ in wanted))
    look = Look(kinds, request.get("deadline"))
    (snapshot,) = take(roots, kernel, policy, look, ask_about=lambda _: ())
    require_something(snapshot)
    require_objects([snapshot], wanted)
    rows = dict.fromkeys((kind, row) for kind, name in wanted for row in matching(snapshot, kind, name))
    return _Found(snapshot, [(snapshot.tables[kind], row) for kind, row in rows])


def _identity(table: Table, row: int) -> Dict[str, Any]:
    return {name: table[name][row] if name in table else None for name in ("id", "key", "path")}


# ---------------------------------------------------------------- backup


def backup(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:
    """Back the objects of a request up, in one pack. Raise IpcopsError."""
    found = _find(request, policy, roots, kernel)
    snapshot = found.snapshot
    means = means_of(dict(request, backup=request.get("directory")), policy, roots, kernel)
    state = _state(policy)
    with state.lock(), Journal(state, policy, caller("backup"), snapshot.host.boot_id) as journal:
        settle(journal, means)
        batch = journal.begin()
        path = means.backups or state.backups
        saved, failed = _write(found, batch, path, journal, means)
    return {
        "schema": BACKUP_SCHEMA,
        "saved": saved,
        "failed": failed,
        "path": pack_path(path, batch) if saved else None,
        "backup": _word(path, batch, state) if saved else None,
        "journal": journal.path,
    }


def _word(path: str, batch: str, state: State) -> str:
    """Return what ``restore`` takes for a backup: its name, or its path where it lies elsewhere."""
    return batch if path == state.backups else pack_path(path, batch)


def _write(
    found: _Found, batch: str, path: str, journal: Journal, means: Means
) -> Tuple[List[Dict[str, Any]], List[Dict[str, Any]]]:
    """Write the pack of a batch and what the journal says of it. Return what is in it, and what could not be read."""
    policy, snapshot = means.policy, found.snapshot
    limits = Limits(policy["clean", "backup_object"], policy["clean", "backup_messages"])
    saved: List[Dict[str, Any]] = []
    failed: List[Dict[str, Any]] = []
    results = []
    try:
        make_directories(path)
        directory = Directory.open(path)
    except OSError as error:
        raise WriteError("the directory of backups '%s' cannot be opened: %s" % (path, error.strerror)) from error
    with directory, _draft(directory, batch, journal, means) as draft:
        for number, (table, row) in enumerate(found.rows):
            action = _action(snapshot, table, row)
            one = _object(snapshot, table, row)
            try:
                offset, sha256 = draft.add(save(means.change, means.roots, action, limits))
            except ContentsError as error:
                failed.append({**one, "why": str(error)})
                continue
            journal.intent(batch, number, "backup", described(action), offset=offset, sha256=sha256)
            results.append((number, "saved", named(described(action)), ""))
            saved.append({**one, "saved": "%s:%d" % (batch, offset)})
        if saved:
            draft.commit()
            journal.backed_up(batch, batch + SUFFIX if path == journal.state.backups else pack_path(path, batch))
    journal.outcomes(batch, results)
    journal.end()
    return saved, failed


def pack_path(path: str, batch: str) -> str:
    """Return where the pack of a batch lies."""
    return os.path.join(path, batch + SUFFIX)


def _draft(directory: Directory, batch: str, journal: Journal, means: Means) -> Draft:
    bounds = Bounds(means.policy["clean", "backup_bytes"], means.policy["clean", "backup_age"])
    try:
        uptime = read_uptime(means.roots.proc)
        expire(directory, bounds, Clock(journal.boot_id, uptime, time.time()))
        left = room(directory, bounds, ())
    except (OSError, ValueError) as error:
        raise WriteError("the backup '%s' cannot be written: %s" % (batch, error)) from error
    return Draft(directory, batch, journal.boot_id, uptime, left)


def _action(snapshot: Snapshot, table: Table, row: int) -> Action:
    return Action(
        kind=table.kind,
        **_identity(table, row),
        namespace=snapshot.namespace,
        expect={name: table[name][row] for name in EXPECT[table.kind] if name in table},
        section=COMMAND_LINE,
        reasons=(),
        confidence="certain",
    )


def _object(snapshot: Snapshot, table: Table, row: int) -> Dict[str, Any]:
    uid = table["uid"][row]
    one = {"kind": table.kind, **told(_identity(table, row)), "namespace": snapshot.namespace}
    return {**one, "owner": {"uid": uid, "user": snapshot.users.get(uid)}, "bytes": held_bytes(table, row)}


# ---------------------------------------------------------------- restore


def restore(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:
    """Put back what a backup holds, or undo what ``set`` did in a batch. Raise IpcopsError.

    With ``apply`` false tell what would come back. What is back already is told apart, as ``present``.
    """
    state = _state(policy)
    boot_id = read_host(roots.proc).boot_id
    means = means_of({}, policy, roots, kernel)
    if not request.get("apply", True):
        return _put_back(request, _Back(state, boot_id, means, None))
    with state.lock(), Journal(state, policy, caller("restore"), boot_id) as journal:
        settle(journal, means)
        return _put_back(request, _Back(state, boot_id, means, journal))


class _Back(NamedTuple):
    """With what objects are put back; without a journal they are not."""

    state: State
    boot_id: Optional[str]
    means: Means
    journal: Optional[Journal]


def _put_back(request: Request, back: _Back) -> Report:
    wanted, word = _named(request), request["backup"]
    entries = read_journal(back.state).entries
    changes = [one for one in entries if one.get("batch") == word and one.get("verb") == "change"]
    answers = _undone(changes, wanted, back) if changes else _restored(word, entries, wanted, back)
    if not any(answers):
        raise InputError("nothing of '%s' was asked for; 'ipcops journal' tells what is in it" % word)
    journal = back.journal
    return {"schema": RESTORE_SCHEMA, **answers._asdict(), "journal": None if journal is None else journal.path}


class _Answers(NamedTuple):
    """What came back, what did not and why, and what was back already."""

    restored: List[Dict[str, Any]]
    refused: List[Dict[str, Any]]
    present: List[Dict[str, Any]]


def _restored(word: str, entries: Sequence[Event], wanted: Sequence[Name], back: _Back) -> _Answers:
    means, journal = back.means, back.journal
    path, offset = find_pack(back.state.backups, word)
    sums = {(one["batch"], one["backup"]["offset"]): one["backup"]["sha256"] for one in entries if one["backup"]}
    present: List[Dict[str, Any]] = []
    batch: List[str] = []
    begun: List[Tuple[str, Mapping[str, Any]]] = []
    matched = set()

    def is_wanted(kind: str, row: Mapping[str, Any]) -> bool:
        """Say whether an object is asked for; then what is about to happen is written down first."""
        hits = [one for one in wanted if _is(one, kind, row)]
        if wanted and not hits:
            return False
        matched.update(hits)
        what = {"kind": kind, **told({name: row.get(name) for name in ("id", "key", "path")})}
        if returned.stands(kind, row, means.change, means.roots):
            present.append({**what, "was": told(row)})
            return False
        if journal is None:
            return True
        if not batch:
            batch.append(journal.begin())
        journal.intent(batch[0], len(begun), "restore", {**what, "uid": row.get("uid")}, source=word)
        begun.append((kind, row))
        return True

    with open_pack(path) as pack:
        returned = Returned(entries, pack.batch, back.boot_id)
        restored, refused = put_back(
            pack, sums, is_wanted, means.change, means.roots, offset, make=journal is not None
        )
    if journal is not None and batch:
        journal.outcomes(batch[0], _outcomes(begun, restored, refused))
        journal.end()
    absent = [
        {"object": {"kind": kind, "id": None, "key": None, "path": name}, "why": "it is not in this backup"}
        for kind, name in wanted
        if (kind, name) not in matched
    ]
    return _Answers([_back(one) for one in restored], [*map(_refused, refused), *absent], present)


def _is(name: Name, kind: str, row: Mapping[str, Any]) -> bool:
    """Whether a name means an object as it was."""
    columns = {column: [value] for column, value in row.items() if column in ("id", "key", "path")}
    return name[0] == kind and bool(rows_of(Table(kind, columns), name[1]))


def _outcomes(
    begun: Sequence[Tuple[str, Mapping[str, Any]]], restored: Sequence[Restored], refused: Sequence[Refused]
) -> List[Tuple[int, str, str, str]]:
    """Return the journal's outcomes, in the order of the intents."""
    back = {id(one.was): one for one in restored}
    whys = {(one.kind, one.id, one.path): one.why for one in refused}
    results = []
    for number, (kind, row) in enumerate(begun):
        one = back.get(id(row))
        now = row.get("id") if one is None else one.id
        name = named({"kind": kind, "id": now, "path": row.get("path")})
        if one is None:
            why = whys.get((kind, row.get("id"), row.get("path")), "it was not put back")
            results.append((number, "failed", name, why))
        else:
            results.append((number, "restored", name, "; ".join(one.notes)))
    return results


def _back(one: Restored) -> Dict[str, Any]:
    names = told({"id": one.id, "key": one.key, "path": one.path})
    return {"kind": one.kind, **names, "was": told(one.was), "note": "; ".join(one.notes) or None}


def _refused(one: Refused) -> Dict[str, Any]:
    names = told({"id": one.id, "key": one.key, "path": one.path})
    return {"object": {"kind": one.kind, **names}, "why": one.why}


def _undone(changes: Sequence[Event], wanted: Sequence[Name], back: _Back) -> _Answers:
    """Undo what ``set`` did."""
    means, answers = back.means, _Answers([], [], [])
    for entry in changes:
        what = entry["object"]
        thing = {name: what.get(name) for name in ("kind", "id", "key", "path")}
        key = what.get("key")
        row = {"id": what.get("id"), "key": None if key is None else int(key, 16), "path": what.get("path")}
        if wanted and not any(_is(one, what["kind"], row) for one in wanted):
            continue
        try:
            why = _not_to_undo(entry, back.boot_id)
            note = None if why else undo(entry, back.journal, means.change, means.roots, means.kernel)
            was = told(unwritten(entry["before"]))
        except WriteError:
            raise
        except IpcopsError as error:
            why = str(error)
        except (KeyError, TypeError, ValueError):
            why = "the journal does not say what it was"
        if why:
            answers.refused.append({"object": thing, "why": why})
        elif note is None:
            answers.present.append({**thing, "was": was})
        else:
            answers.restored.append({**thing, "was": was, "note": note})
    return answers


def _not_to_undo(entry: Event, boot_id: Optional[str]) -> str:
    if entry["event"] != "changed":
        return "it was not changed then"
    if entry.get("boot_id") != boot_id:
        return "that was before this host was started anew, and the object is gone with that"
    return ""


# ---------------------------------------------------------------- journal


def journal(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:  # noqa: ARG001  # as every command
    """Return what the journal says, newest first. Raise IpcopsError."""
    state = _state(policy)
    kinds = request.get("kinds") or ()
    for kind in kinds:
        if kind not in (*REMOVABLE_KINDS, *LIMIT_KINDS):
            raise unknown_word("removable kind", kind, (*REMOVABLE_KINDS, *LIMIT_KINDS))
    since, key = request.get("since"), request.get("key")
    history = read_journal(
        state,
        since=None if since is None else _since(since, time.time()),
        kind=kinds[0] if kinds else None,
        key=None if key is None else _key(key),
    )
    users = read_users({one["object"].get("uid") for one in history.entries if one["object"].get("uid") is not None})
    return {
        "schema": JOURNAL_SCHEMA,
        "journal": os.path.join(state.path, "journal.jsonl"),
        "narrowed": bool(kinds or since is not None or key is not None),
        "notes": history.notes,
        "entries": [_entry(one, users) for one in history.entries],
    }


def _entry(one: Event, users: Mapping[int, Optional[str]]) -> Dict[str, Any]:
    thing, who, uid = one["object"], one["user"] or {}, one["object"].get("uid")
    kept = one["backup"]
    return {
        "event": one["event"],
        "time": one["time"],
        "batch": one["batch"],
        "boot_id": one["boot_id"],
        "user": {"uid": who.get("uid"), "user": who.get("name"), "sudo_user": who.get("sudo_user")},
        "command": one["command"],
        **{name: thing.get(name) for name in ("kind", "id", "key", "path", "namespace")},
        "owner": None if uid is None else {"uid": uid, "user": users.get(uid)},
        "section": one.get("section"),
        "policy": one["policy"],
        "reasons": list(one.get("reasons") or ()),
        "confidence": one.get("confidence"),
        "expect": one.get("expect"),
        "before": one.get("before"),
        "after": one.get("after"),
        "error": one["error"],
        "note": one["note"],
        "backup": kept,
        "restore": _way_back(one),
        "rollback": str(one["batch"]) if one["command"] == "limits apply" and one["event"] == "changed" else None,
    }


def _way_back(one: Event) -> Optional[str]:
    """Return what ``restore`` takes to undo an entry."""
    if one.get("verb") == "change" and one["event"] == "changed":
        return str(one["batch"])
    kept = one["backup"]
    if kept is None or one["event"] in ("failed", "restored"):
        return None
    pack = str(kept["pack"])
    return pack if os.path.isabs(pack) else str(one["batch"])


def _since(text: str, now: float) -> float:
    """Return the epoch second of an age (``2h``) before *now*, or of a day or time. Raise InputError."""
    try:
        return now - parse_duration(text)
    except ValueError:
        pass
    for form in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"):
        try:
            return time.mktime(time.strptime(text, form))
        except (ValueError, OverflowError):
            continue
    raise InputError("'%s' is no time; write an age such as 2h or 7d, or a day such as 2026-05-01" % text)


def _key(text: str) -> int:
    try:
        key = int(text, 0)
    except ValueError:
        key = -1
    if not 0 <= key <= 0xFFFFFFFF:
        raise InputError("'%s' is no key; write it as in 0x1111" % text)
    return key


# ---------------------------------------------------------------- set


def change(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:
    """Set mode, owner or size limit of one object. Raise IpcopsError."""
    wanted = _named(request)
    kind = wanted[0][0]
    values = parse_changes(request.get("changes") or (), kind)
    found = _find(request, policy, roots, kernel)
    if len(found.rows) > 1:
        names = ", ".join("%s:%s" % (kind, table["id"][row]) for table, row in found.rows)
        raise InputError("%d objects have this key: %s; name one by its id" % (len(found.rows), names))
    (table, row), snapshot = found.rows[0], found.snapshot
    device = {name: table[name][row] if name in table else None for name in ("dev", "ino")}
    thing = Thing(kind, **_identity(table, row), namespace=snapshot.namespace, **device)
    state = _state(policy)
    with state.lock(), Journal(state, policy, caller("set"), snapshot.host.boot_id) as book:
        settle(book, means_of({}, policy, roots, kernel))
        before = {name: table[name][row] for name in values}
        batch = put(thing, values, book, Change(), roots, kernel)
    return {
        "schema": SET_SCHEMA,
        "object": _object(snapshot, table, row),
        "changed": [
            {"name": name, "before": _shown(name, before[name]), "now": _shown(name, values[name])}
            for name in values
            if batch is not None
        ],
        "undo": batch,
    }


def _shown(name: str, value: int) -> Any:
    return "%04o" % (value & 0o7777) if name == "mode" else value
