"""Carries out a plan: looks again, compares, backs up, and only then removes; by id, never by key.

In batches: intents, then backups, then removals, then outcomes, each group on the disk before the
next begins. So a run that is killed leaves at most one batch in doubt, which settle() looks at in
the next run. What differs in anything from what was planned stays; so does whatever could not be
written down or backed up first.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import stat
import time
from itertools import groupby
from operator import itemgetter
from typing import Any, Callable, Collection, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from .backup import SUFFIX, Bounds, Clock, Draft, expire, room
from .change import Change
from .collect.again import Again, Look, Targets
from .collect.host import read_namespace, read_uptime
from .collect.mounts import parse_mountinfo
from .contents import CHANGED_BY_LOOKING, ContentsError, Limits, save
from .errors import WriteError
from .fs import Directory, Roots, make_directories
from .journal import Backup, Event, Intent, Journal, named, told, unsettled, untold
from .kernel import Kernel
from .model import SHM_DEST, SYSV_KINDS, Action, Gap, Outcome, Plan
from .policy import Policy
from .tuples import NamedTuple

BATCH = 1024
BATCH_SECONDS = 0.25
"""A batch takes no more objects once it has been prepared for this long."""

FILE_KINDS = ("posix-shm", "posix-sem")
_COMPARED = {
    "shm": "id key mode uid gid cuid cgid size nattch cpid lpid atime dtime ctime",
    "sem": "id key mode uid gid cuid cgid nsems otime ctime",
    "msg": "id key mode uid gid cuid cgid cbytes qnum lspid lrpid stime rtime ctime",
    "posix-shm": "path dev ino mode uid gid size nlink mtime ctime",
    "posix-sem": "path dev ino mode uid gid size nlink mtime ctime",
    "posix-mq": "path dev ino mode uid gid mtime curmsgs",
}
_NEEDED = {kind: frozenset(names.split()) for kind, names in _COMPARED.items()}
"""What a plan must say of an object for it to be recognised."""
_UNCOMPARED = frozenset(("rss", "swap", "blocks", "notify_pid"))
"""What changes without anybody using the object, or is not looked at again."""
_SLACK = 1
"""Seconds that a kernel time may be off ours: it is the second of the last tick."""
_CONSTANT = ("key", "cuid", "cgid", "cpid", "size", "nsems")
"""What no change to a living object can alter; its owner and times can."""
_GONE = (errno.EINVAL, errno.EIDRM, errno.ENOENT)
_TYPES = {
    stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket",
}  # fmt: skip
_MISSING = object()
_INTERRUPTED = "the run was interrupted before it"
_GONE_SINCE = "it is gone; it was to be removed when the run ended"
_STILL_THERE = "the run ended before it was removed"
_PERMISSIONS = 0o777
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Means(NamedTuple):
    """What a plan is carried out with."""

    roots: Roots
    kernel: Kernel
    change: Change
    policy: Policy
    look: Look
    backups: Optional[str] = None
    """The directory of the backups, where it is not that of the state."""


class Applied(NamedTuple):
    """What became of a plan."""

    outcomes: List[Outcome]
    """One for each action, in the order of the plan."""
    error: Optional[str] = None
    """Why the run had to stop: what could not be written."""
    interrupted: bool = False
    settled: int = 0
    """How many outcomes of an earlier run that was killed were written first."""
    notes: Sequence[str] = ()
    """What else there is to say of objects that were removed."""
    batches: Sequence[str] = ()
    """The batches of the journal, which the backups are named by as well."""


def apply_plan(plan: Plan, journal: Journal, means: Means) -> Applied:
    """Carry out a plan, under the lock of the journal's state; settles first what an earlier run left."""
    return _Run(plan, journal, means).run()


class _RefusedError(Exception):
    """An object stays, for a reason."""


class _Item:
    """An action on its way through a batch."""

    __slots__ = ("action", "aside", "backup", "done", "expect", "note", "number", "record", "why")

    def __init__(self, action: Action) -> None:
        self.action = action
        self.expect: Mapping[str, Any] = action.expect
        self.number = -1
        self.record: Optional[Tuple[int, ...]] = None
        self.backup: Optional[str] = None
        self.aside: Optional[str] = None
        self.done = False
        self.why = ""
        self.note = ""

    @property
    def name(self) -> str:
        """The name of the object, as a user gives it."""
        return "%s:%s" % (self.action.kind, self.action.id if self.action.path is None else self.action.path)

    @property
    def file(self) -> str:
        """The name of its file, without the slash."""
        return (self.action.path or "")[1:]

    @property
    def inode(self) -> Any:
        """Device and inode of its file."""
        return self.expect["dev"], self.expect["ino"]


class _Run:
    """One plan being carried out."""

    def __init__(self, plan: Plan, journal: Journal, means: Means) -> None:
        self.plan, self.journal, self.means = plan, journal, means
        self.change = means.change
        self.items = [_Item(action) for action in plan.remove]
        self.places: Dict[str, Directory] = {}
        self.batches: List[str] = []
        self.columns: Dict[str, Tuple[str, ...]] = {}
        """``id``, and the names of what the kernel's record of each kind tells."""
        self.again = Again({}, {}, ())
        self.unseen: Optional[Gap] = None
        self.stopped = False

    def run(self) -> Applied:
        settled, error = 0, None
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._stoppable())
            if gc.isenabled():  # a sixth of the time went into looking for cycles that are never made
                gc.disable()
                stack.callback(gc.enable)
            try:
                settled = settle(self.journal, self.means)
                self._refuse_strangers()
                self._open_places(stack)
                self.packs = stack.enter_context(self._backups())
                waiting = [item for item in self.items if not item.why]
                while waiting and not self.stopped:
                    waiting = self._batch(waiting)
                if self.batches:
                    self.journal.end()
            except WriteError as failure:
                error = str(failure)
        _give_up(self.items, error or _INTERRUPTED)
        outcomes = [Outcome(item.action, item.done, item.why, item.backup) for item in self.items]
        notes = ["%s: %s" % (item.name, item.note) for item in self.items if item.note]
        return Applied(outcomes, error, self.stopped, settled, notes, self.batches)

    @contextlib.contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Let a signal that ends programs end this run between two objects, with the journal whole."""

        def stop(_number: int, _frame: object) -> None:
            self.stopped = True

        before: Dict[int, Any] = {}
        try:
            with contextlib.suppress(ValueError):  # only the main thread may
                for one in _STOPPING:
                    if signal.getsignal(one) is not signal.SIG_IGN:
                        before[one] = signal.signal(one, stop)
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # ------------------------------------------------------------- before the first batch

    def _refuse_strangers(self) -> None:
        """Refuse what is of another boot or namespace, and what the plan tells too little of."""
        here = read_namespace(self.means.roots.proc)
        same_boot = self.plan.boot_id is not None and self.plan.boot_id == self.journal.boot_id
        pickers: Dict[Any, Optional[Callable[[Mapping[str, Any]], Tuple[int, ...]]]] = {}
        for item in self.items:
            action = item.action
            columns = action.kind, tuple(item.expect)
            if columns not in pickers:
                pickers[columns] = self._picker(*columns)
            picker = pickers[columns]
            missing = () if picker else _NEEDED.get(action.kind, frozenset()) - item.expect.keys()
            if not same_boot:
                item.why = "the plan was made in another boot of this host; make a new one"
            elif action.kind not in _NEEDED:
                item.why = "objects of this kind are never removed"
            elif action.namespace != here:
                item.why = "it is of IPC namespace %d, and this is %d" % (action.namespace, here)
            elif missing:
                item.why = "the plan does not say its %s; make a new one" % ", ".join(sorted(missing))
            elif not _is_one(action):
                item.why = "the plan names one object and describes another; make a new one"
            elif action.kind == "posix-mq" and item.expect["curmsgs"] != 0:
                item.why = "it holds messages, and those of a POSIX queue cannot be copied"
            elif action.kind == "msg" and item.expect["qnum"] and not action.with_data:
                item.why = "it holds messages"
            elif picker is not None:
                item.record = picker(item.expect)
            else:
                item.expect = {name: value for name, value in item.expect.items() if name not in _UNCOMPARED}

    def _picker(self, kind: str, names: Tuple[str, ...]) -> Optional[Callable[[Mapping[str, Any]], Tuple[int, ...]]]:
        """Return what takes the kernel's record out of a plan's row; ``None`` where the row has not just that."""
        if kind not in SYSV_KINDS:
            return None
        try:
            known = self.change.names(kind)
        except OSError:
            return None
        self.columns[kind] = ("id", *known)
        return itemgetter(*known) if {*names} - _UNCOMPARED == {"id", *known} else None

    def _open_places(self, stack: contextlib.ExitStack) -> None:
        """Open /dev/shm and the queues, as far as files of theirs are to go."""
        for kind in (*FILE_KINDS, "posix-mq"):
            items = [item for item in self.items if item.action.kind == kind and not item.why]
            if not items:
                continue
            try:
                if kind == "posix-mq":
                    place = queue_directory(self.means, {item.expect["dev"] for item in items})
                else:
                    place = self.means.roots.shm()
                self.places[kind] = stack.enter_context(place)
            except OSError as error:
                _give_up(items, "its directory cannot be opened: %s" % error.strerror)

    def _backups(self) -> Directory:
        path = self.means.backups or self.journal.state.backups
        try:
            make_directories(path)
            return Directory.open(path)
        except OSError as error:
            raise WriteError("the directory of backups '%s' cannot be opened: %s" % (path, error.strerror)) from error

    # ------------------------------------------------------------- a batch

    def _batch(self, waiting: List[_Item]) -> List[_Item]:
        """Take a batch through all its steps; return what is left after it."""
        chosen: List[_Item] = []
        until, taken = time.monotonic() + BATCH_SECONDS, 0
        for item, found in zip(waiting, self._records(waiting[:BATCH])):
            if self.stopped or (taken and time.monotonic() > until):
                break
            taken += 1
            if (found is not None and found == item.record) or self._holds(self._compare, item):
                chosen.append(item)
        if not chosen or self.stopped:
            return waiting[taken:]
        batch = self.journal.begin()
        self.batches.append(batch)
        for number, item in enumerate(chosen):
            item.number = number
        draft = self._draft(batch, chosen)
        try:
            backups = self._back_up(draft, chosen) if draft is not None else {}
            intents = {item.number: item for item in chosen if not item.why}
            self.journal.intents(batch, [self._intent(item, backups.get(item.number)) for item in intents.values()])
            try:
                if draft is not None and backups:
                    draft.commit()
                    self.journal.backed_up(batch, self._pack(batch))
                    for number, backup in backups.items():
                        intents[number].backup = "%s:%d" % (batch, backup.offset)
                self._remove(batch, list(intents.values()))
            except WriteError as error:
                _give_up(chosen, str(error))
                raise
            finally:
                _give_up(chosen, _INTERRUPTED if self.stopped else "the run ended before it")
                results = [
                    (number, "removed" if item.done else "failed", item.name, item.why or item.note)
                    for number, item in intents.items()
                ]
                self.journal.outcomes(batch, results)
        finally:
            if draft is not None:
                draft.abandon()
        return waiting[taken:]

    def _intent(self, item: _Item, backup: Optional[Backup]) -> Intent:
        action, record = item.action, item.record
        if record is None:
            return Intent(item.number, action, backup)
        return Intent(item.number, action, backup, self.columns[action.kind], (item.expect["id"], *record))

    def _records(self, items: Sequence[_Item]) -> List[Optional[Tuple[int, ...]]]:
        """Return the kernel's records of a batch, as far as they are to be had all at once."""
        found: List[Optional[Tuple[int, ...]]] = []
        for kind, same in groupby(items, lambda item: item.action.kind):
            group = list(same)
            if kind in self.columns:
                found += self.change.records(kind, [item.expect["id"] for item in group])
            else:
                found += [None] * len(group)
        return found

    def _holds(self, step: Callable[[_Item], None], item: _Item) -> bool:
        """Take one step with an object; false when it stays, with the reason noted."""
        try:
            step(item)
        except (_RefusedError, ContentsError) as refusal:
            item.why = str(refusal)
        except OSError as error:
            item.why = "it is gone already" if error.errno in _GONE else error.strerror or str(error)
        return not item.why

    def _compare(self, item: _Item) -> None:
        """Look at the object again. Raise _RefusedError when it differs in anything from what is expected."""
        record = item.record
        if record is None or self.change.record(item.action.kind, item.expect["id"]) != record:
            found = self._found(item)
            _refuse_changed(item.expect, found)

    def _found(self, item: _Item) -> Mapping[str, Any]:
        action = item.action
        if action.kind in SYSV_KINDS:
            row = self.change.stat(action.kind, item.expect["id"])
            if row is None:
                raise _RefusedError("it is gone already")
            return row
        place = self.places[action.kind]
        if action.kind != "posix-mq":
            return file_row(place, item.file)
        return queue_row(place, item.file, self.means.kernel)

    # ------------------------------------------------------------- backups

    def _draft(self, batch: str, items: Sequence[_Item]) -> Optional[Draft]:
        """Begin the pack of a batch, if it is to have one; old packs make room for it. Raise WriteError."""
        if all(item.action.backup == "none" for item in items):
            return None
        policy, proc = self.means.policy, self.means.roots.proc
        bounds = Bounds(policy["clean", "backup_bytes"], policy["clean", "backup_age"])
        try:
            uptime = read_uptime(proc)
            expire(self.packs, bounds, Clock(self.journal.boot_id, uptime, time.time()), self.batches)
            left = room(self.packs, bounds, self.batches)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise WriteError("the backup '%s' cannot be written: %s" % (batch, why)) from error
        return Draft(self.packs, batch, self.journal.boot_id, uptime, left)

    def _pack(self, batch: str) -> str:
        return batch + SUFFIX if self.means.backups is None else os.path.join(self.means.backups, batch + SUFFIX)

    def _back_up(self, draft: Draft, items: Sequence[_Item]) -> Dict[int, Backup]:
        """Write the backups of a batch, and return where each begins. Raise WriteError."""
        policy, change, roots = self.means.policy, self.change, self.means.roots
        limits = Limits(policy["clean", "backup_object"], policy["clean", "backup_messages"])
        backups: Dict[int, Backup] = {}
        began = int(time.clock_gettime(time.CLOCK_REALTIME)) - _SLACK

        def back_up(item: _Item) -> None:
            backup = Backup(*draft.add(save(change, roots, item.action, limits)))
            if item.action.kind == "shm":
                self._after_looking(item, began)
            backups[item.number] = backup

        for item in items:
            if self.stopped:
                item.why = _INTERRUPTED
            elif item.action.backup != "none":
                self._holds(back_up, item)
        return backups

    def _after_looking(self, item: _Item, began: int) -> None:
        """Expect from now on what our own look into a segment changed, if nothing but it can have."""
        found = self._found(item)
        changed = [name for name in CHANGED_BY_LOOKING[item.action.kind] if found.get(name) != item.expect[name]]
        if changed:
            now = int(time.clock_gettime(time.CLOCK_REALTIME)) + _SLACK
            ours = found["lpid"] == os.getpid() and all(began <= found[name] <= now for name in ("atime", "dtime"))
            if not ours:
                _refuse_changed(item.expect, found)
            item.expect = {**item.expect, **{name: found[name] for name in changed}}
            item.record = None

    # ------------------------------------------------------------- removals

    def _remove(self, batch: str, items: List[_Item]) -> None:
        """Remove what is still as it was: files are first moved aside and looked for once more, all together."""
        files = [item for item in items if item.action.kind in FILE_KINDS]
        try:
            for item in files:
                if self.stopped:
                    break
                self._holds(lambda one: self._set_aside(batch, one), item)
            self.again = self._look_again([item for item in items if not item.why])
            self.unseen = self.again.unseen("msg")
            steps = {
                "shm": self._remove_shm,
                "sem": self._remove_sem,
                "msg": self._remove_msg,
                "posix-mq": self._remove_queue,
            }
            for item in items:
                if self.stopped:
                    break
                if not item.why:
                    item.done = self._holds(steps.get(item.action.kind, self._remove_file), item)
        finally:
            for item in files:
                if item.aside is not None and not item.done:
                    self._put_back(item)

    def _look_again(self, items: Sequence[_Item]) -> Again:
        """Look for holders and waiters of a batch in one pass over /proc, if it has anything to ask there."""
        files = {item.inode: "/" + item.aside for item in items if item.aside is not None}
        queues = {item.inode: str(item.action.path) for item in items if item.action.kind == "posix-mq"}
        messages = any(item.action.kind == "msg" for item in items)
        if not (files or queues or messages):
            return Again({}, {}, ())
        return self.means.look(Targets(files, queues, messages))

    def _remove_shm(self, item: _Item) -> None:
        """Let nobody new attach, and remove the segment only if nobody did meanwhile."""
        self._compare(item)
        shmid, mode = item.expect["id"], item.expect["mode"]
        if item.expect["nattch"]:
            raise _RefusedError("it is attached")
        self.change.set_mode("shm", shmid, 0)
        try:
            found = self._found(item)
            _refuse_changed({**item.expect, "mode": mode & ~_PERMISSIONS, "ctime": found["ctime"]}, found)
            self.change.remove_shm(shmid)
        except (_RefusedError, OSError) as error:
            if getattr(error, "errno", None) not in _GONE:
                self._reopen(shmid, mode, error)
            raise
        left = self.change.stat("shm", shmid)
        if left is not None and left["mode"] & SHM_DEST:
            item.note = (
                "it was attached in the very moment of its removal (%d times now); it goes with the last of"
                " these, and was not made again, as two segments would split its users" % left["nattch"]
            )

    def _reopen(self, shmid: int, mode: int, error: Exception) -> None:
        try:
            self.change.set_mode("shm", shmid, mode)
        except OSError as failure:
            what = "%s; and its mode, now 0, could not be put back to 0%o: %s"
            raise _RefusedError(what % (error, mode & _PERMISSIONS, failure.strerror)) from error

    def _remove_sem(self, item: _Item) -> None:
        semid = item.expect["id"]
        waiters = self.change.waiters(semid, item.expect["nsems"])
        if waiters:
            raise _RefusedError("%s for it" % ("a thread waits" if waiters == 1 else "%d threads wait" % waiters))
        self._compare(item)  # last: what is used or made anew under this id in between differs
        self.change.remove_sem(semid)

    def _remove_msg(self, item: _Item) -> None:
        msqid = item.expect["id"]
        if msqid in self.again.waiting:
            who = self.again.waiting[msqid][0].process
            raise _RefusedError("a thread of pid %d (%s) is blocked on it" % (who.pid, who.command))
        if self.unseen is not None:
            _refuse_unseen("who is blocked on it", self.unseen)
        self._compare(item)
        self.change.remove_msg(msqid)

    # ------------------------------------------------------------- files

    def _set_aside(self, batch: str, item: _Item) -> None:
        """Give a file a name that nobody opens it by, and see that it is the very file."""
        self._compare(item)
        place, aside = self.places[item.action.kind], aside_name(batch, item.number)
        if item.expect["dev"] != place.own_info().dev:
            raise _RefusedError("it is not in the directory itself: something is mounted over it")
        if item.expect["nlink"] != 1:
            raise _RefusedError("it has %d names" % item.expect["nlink"])
        self.change.rename_new(place.fd, item.file, aside)
        item.aside = aside
        found = file_row(place, aside)
        moved = {**item.expect, "path": "/" + aside, "ctime": found["ctime"]}  # renaming sets the ctime
        _refuse_changed(moved, found)
        item.expect = moved

    def _remove_file(self, item: _Item) -> None:
        _refuse_held(item, self.again)
        place, aside = self.places[item.action.kind], str(item.aside)
        found = file_row(place, aside)
        _refuse_changed(item.expect, found)
        place.unlink(aside)

    def _put_back(self, item: _Item) -> None:
        """Give a file that stays its name again; where another has it by now, say where the file is."""
        place, aside = self.places[item.action.kind], str(item.aside)
        why = item.why or (_INTERRUPTED if self.stopped else "the run ended before it")
        try:
            self.change.rename_new(place.fd, aside, item.file)
        except OSError as error:
            why += "; it is at /%s now, as its name could not be given back: %s" % (aside, error.strerror)
        item.why = why

    def _remove_queue(self, item: _Item) -> None:
        _refuse_held(item, self.again)
        self._compare(item)
        place = self.places["posix-mq"]
        with place.opened(item.file) as fd:
            place.unlink(item.file)
            attributes = self.means.kernel.queue_attributes(fd)
        if attributes is not None and attributes[2]:
            item.note = "%d messages came in the very moment of its removal, and are lost" % attributes[2]


# ---------------------------------------------------------------- what is there now


def file_row(place: Directory, name: str) -> Dict[str, Any]:
    """Return the row of a file in /dev/shm as its table has it. Raise OSError; _RefusedError for no plain file."""
    info = place.info(name)
    if not info.is_regular:
        raise _RefusedError("it is no regular file any more, but %s" % _TYPES.get(stat.S_IFMT(info.mode), "a device"))
    return {
        "path": "/" + name, "dev": info.dev, "ino": info.ino, "mode": info.mode & 0o7777, "uid": info.uid,
        "gid": info.gid, "size": info.size, "nlink": info.nlink, "mtime": info.mtime, "ctime": info.ctime,
    }  # fmt: skip


def queue_row(place: Directory, name: str, kernel: Kernel) -> Dict[str, Any]:
    """Return the row of a POSIX queue as its table has it. Raise OSError."""
    info = place.info(name)
    with place.opened(name) as fd:
        attributes = kernel.queue_attributes(fd)
    maxmsg, msgsize, curmsgs = attributes or (None, None, None)
    return {
        "path": "/" + name, "dev": info.dev, "ino": info.ino, "mode": info.mode & 0o7777, "uid": info.uid,
        "gid": info.gid, "size": info.size, "nlink": info.nlink, "mtime": info.mtime, "ctime": info.ctime,
        "maxmsg": maxmsg, "msgsize": msgsize, "curmsgs": curmsgs,
    }  # fmt: skip


def queue_directory(means: Means, devices: Collection[int]) -> Directory:
    """Open the queues of our IPC namespace: a mount of our own, or the visible one that is of *devices*.

    Raise OSError where there is neither.
    """
    try:
        return Directory(means.kernel.mqueue_directory())
    except OSError as error:
        try:
            mounts = parse_mountinfo(means.roots.proc.read("self/mountinfo"))
        except ValueError as failure:
            raise OSError(errno.EINVAL, str(failure)) from error
        for mount in mounts:
            if mount.fstype == "mqueue" and mount.dev in devices:
                return Directory.open(mount.point)
        raise


def aside_name(batch: str, number: int) -> str:
    """Return the name that a file has in /dev/shm between its own and none."""
    return ".ipcops-%s-%d" % (batch, number)


def _is_one(action: Action) -> bool:
    """Whether an action is about one object, in the directory itself, and tells the same of it twice."""
    expect = action.expect
    if action.kind in SYSV_KINDS:
        return type(action.id) is int and action.id >= 0 and (action.id, action.key) == (expect["id"], expect["key"])
    path = action.path or ""
    plain = path.startswith("/") and "/" not in path[1:] and "\0" not in path and path not in ("/", "/.", "/..")
    return plain and path == expect["path"]


def _give_up(items: Sequence[_Item], why: str) -> None:
    for item in items:
        if not item.done and not item.why:
            item.why = why


def _refuse_changed(expect: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raise _RefusedError, naming what differs, unless the object is in everything as expected."""
    for name, value in expect.items():
        if found.get(name, _MISSING) != value:
            break
    else:
        return
    before, now = told(expect), told(found)
    differing = [name for name, value in expect.items() if found.get(name, _MISSING) != value]
    words = ["its %s was %s and is %s" % (name, before[name], now.get(name, "not known")) for name in differing]
    raise _RefusedError("it changed since it was looked at: %s" % ", ".join(words))


def _refuse_unseen(what: str, gap: Optional[Gap]) -> None:
    if gap is not None:
        raise _RefusedError("not seen %s: %s: %s" % (what, gap.what, gap.why))


def _refuse_held(item: _Item, again: Again) -> None:
    holders = again.holding.get(item.inode)
    if holders:
        raise _RefusedError("pid %d (%s) has it mapped or open" % (holders[0].pid, holders[0].command))
    _refuse_unseen("who has it mapped or open", again.unseen("posix"))


# ---------------------------------------------------------------- after a run that was killed


def settle(journal: Journal, means: Means) -> int:
    """Write the outcomes that a run which was killed left out, as far as a look tells; return how many.

    What it left half done is put back: the mode of a segment, the name of a file. Call it under the lock,
    before anything else is written. Raise WriteError.
    """
    entries = unsettled(journal.state)
    if not entries:
        return 0
    settling = _Settling(journal, means)
    batches: Dict[str, List[Any]] = {}
    for entry in entries:
        event, words = settling.outcome(entry)
        batches.setdefault(entry["batch"], []).append((entry["n"], event, named(entry["object"]), words))
    for batch, results in batches.items():
        journal.outcomes(batch, results)
    journal.end()
    return len(entries)


class _Settling:
    """Looks at objects that an earlier run was about to remove."""

    def __init__(self, journal: Journal, means: Means) -> None:
        self.journal, self.means = journal, means
        self.here = read_namespace(means.roots.proc)

    def outcome(self, entry: Event) -> Any:
        """Return the outcome of an entry and the words for it."""
        thing = entry["object"]
        if entry.get("verb") != "remove":
            return "in-doubt", "the run ended before it could say whether this was done"
        if entry.get("boot_id") != self.journal.boot_id:
            return "in-doubt", "the host was started anew before anybody could look; the object is gone with that"
        if thing.get("namespace") != self.here:
            return "in-doubt", "the run ended before it could say, and this one is in another IPC namespace"
        try:
            expect = untold(entry["expect"])
            if thing["kind"] in SYSV_KINDS:
                return self._sysv(thing, expect)
            if thing["kind"] == "posix-mq":
                return self._queue(thing, expect)
            return self._file(thing, expect, aside_name(entry["batch"], entry["n"]))
        except (OSError, KeyError, TypeError, ValueError, _RefusedError) as error:
            return "in-doubt", "the run ended before it could say, and a look does not tell: %s" % error

    def _sysv(self, thing: Mapping[str, Any], expect: Mapping[str, Any]) -> Any:
        kind, number = thing["kind"], expect["id"]
        row = self.means.change.stat(kind, number)
        if row is None:
            return "removed", _GONE_SINCE
        if kind == "shm" and row["mode"] & SHM_DEST and not expect["mode"] & SHM_DEST:
            return "removed", "%s; it goes with its last attachment" % _GONE_SINCE
        if any(row[name] != expect[name] for name in _CONSTANT if name in expect):
            return "removed", "%s; another object has its id now" % _GONE_SINCE
        if kind == "shm" and not row["mode"] & _PERMISSIONS and expect["mode"] & _PERMISSIONS:
            self.means.change.set_mode(kind, number, expect["mode"])
            return "failed", "%s; its mode was put back to 0%o" % (_STILL_THERE, expect["mode"] & _PERMISSIONS)
        return "failed", _STILL_THERE

    def _queue(self, thing: Mapping[str, Any], expect: Mapping[str, Any]) -> Any:
        with queue_directory(self.means, (expect["dev"],)) as place:
            return ("failed", _STILL_THERE) if _is_there(place, thing["path"][1:], expect) else ("removed", _GONE_SINCE)

    def _file(self, thing: Mapping[str, Any], expect: Mapping[str, Any], aside: str) -> Any:
        name = thing["path"][1:]
        with self.means.roots.shm() as place:
            if place.own_info().dev != expect["dev"]:
                return "in-doubt", "the run ended before it could say, and this one sees another /dev/shm"
            if _is_there(place, name, expect):
                return "failed", _STILL_THERE
            if not _is_there(place, aside, expect):
                return "removed", _GONE_SINCE
            try:
                self.means.change.rename_new(place.fd, aside, name)
            except OSError as error:
                why = "%s; it is at /%s now, as its name could not be given back: %s"
                return "failed", why % (_STILL_THERE, aside, error.strerror)
        return "failed", "%s; its name was given back" % _STILL_THERE


def _is_there(place: Directory, name: str, expect: Mapping[str, Any]) -> bool:
    """Whether a name in a directory is the very file."""
    try:
        info = place.info(name)
    except FileNotFoundError:
        return False
    return (info.dev, info.ino) == (expect["dev"], expect["ino"])
