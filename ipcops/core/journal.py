"""The journal: what was removed, changed or put back, by whom and why; one JSON object a line.

``journal.jsonl`` in the state directory, written in groups: each is on the disk before what
follows from it is done. A ``batch`` line says who runs what; every line after it names its batch.
An ``intent`` says what is about to be done to which object and what was seen of it, one ``backed-up``
line where the backups of a batch lie, and an outcome (``removed``, ``changed``, ``restored``,
``failed``, ``in-doubt``) what became of an intent. An ``end`` line says that none before it is open.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import time
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from .errors import WriteError
from .fs import environment, write_all
from .model import Action
from .policy import Policy
from .state import State
from .tuples import NamedTuple

NAME = "journal.jsonl"
OUTCOMES = ("removed", "changed", "restored", "saved", "failed", "in-doubt")
_FAILURES = ("failed", "in-doubt")
SYSLOG = "/dev/log"
SYSLOG_MOST = 100
"""Messages to the system log in one run, about single objects; of the others it is told how many they are."""

_NOTICE = 3 * 8 + 5
"""Facility daemon, severity notice (RFC 5424)."""
_SYSLOG_BYTES = 1024
_END_LINE = b'{"event": "end", '
"""How a line begins behind which unsettled() need not look; no string of another line holds a bare quote."""
_HEXADECIMAL, _OCTAL = ("key",), ("mode",)

Event = Dict[str, Any]


class Who(NamedTuple):
    """Who runs which command."""

    uid: int
    name: Optional[str]
    sudo_user: Optional[str]
    command: str


class Backup(NamedTuple):
    """Where the backup of an object lies in its batch's pack, and the checksum of its entry."""

    offset: int
    sha256: str


class Intent(NamedTuple):
    """What is about to be removed: its number in the batch, and the columns of ``expect`` where all are integers."""

    number: int
    action: Action
    backup: Optional[Backup] = None
    names: Optional[Tuple[str, ...]] = None
    values: Tuple[int, ...] = ()


class History(NamedTuple):
    """What a journal says, newest first, and what of it could not be read, in words."""

    entries: List[Event]
    notes: List[str]


def caller(command: str) -> Who:
    """Return who we are."""
    uid = os.getuid()
    try:
        name: Optional[str] = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = None
    return Who(uid, name, environment("SUDO_USER"), command)


def told(values: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the fields of an object as the journal and every report write them: keys and modes as strings."""
    written = dict(values)
    for name in _HEXADECIMAL:
        if written.get(name) is not None:
            written[name] = "0x%08x" % (written[name] & 0xFFFFFFFF)
    for name in _OCTAL:
        if written.get(name) is not None:
            written[name] = "0%o" % written[name]
    return written


def untold(written: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the numbers behind what told() wrote. Raise ValueError."""
    values = dict(written)
    for names, base in ((_HEXADECIMAL, 16), (_OCTAL, 8)):
        for name in names:
            if isinstance(values.get(name), str):
                values[name] = int(values[name], base)
    return values


def described(action: Action) -> Dict[str, Any]:
    """Return what of an action tells which object it is about."""
    return {
        "kind": action.kind,
        "id": action.id,
        "key": None if action.key is None else "0x%08x" % action.key,
        "path": action.path,
        "namespace": action.namespace,
        "uid": action.expect.get("uid"),
    }


def named(thing: Mapping[str, Any]) -> str:
    """Return an object of an entry as a user names it: ``shm:4`` or ``posix-shm:/psm_1``."""
    return "%s:%s" % (thing["kind"], thing["id"] if thing.get("path") is None else thing["path"])


class Journal:
    """The journal, open for writing; only under the lock of its state. Every method raises WriteError.

    What a failed write left is taken back, so that the file ends with a whole line.
    """

    def __init__(
        self, state: State, policy: Policy, who: Who, boot_id: Optional[str], *, syslog: str = SYSLOG
    ) -> None:
        self.state, self.who, self.boot_id, self.syslog = state, who, boot_id, syslog
        self.source = policy.source
        self.size, self.files = int(policy["clean", "journal_size"]), int(policy["clean", "journal_files"])
        self._batches = 0
        self._run = os.urandom(4).hex()  # two runs may begin in one second, and with one pid in two namespaces
        self._messages: List[str] = []
        self._untold: Dict[str, int] = {}
        self._directory = state.made()
        try:
            self._fd = self._open()
        except BaseException:
            self._directory.close()
            raise

    def __enter__(self) -> Journal:  # noqa: PYI034  # Python 3.9 has no Self
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
        self._directory.close()
        self._tell_syslog()

    @property
    def path(self) -> str:
        """Where it lies."""
        return os.path.join(self.state.path, NAME)

    # ------------------------------------------------------------- groups

    def begin(self) -> str:
        """Begin a batch and return its name; a journal that has grown too large is put aside before."""
        if self._length() >= self.size:
            self._rotate()
        self._batches += 1
        batch = "%s-%s-%d" % (time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), self._run, self._batches)
        who = {"uid": self.who.uid, "name": self.who.name, "sudo_user": self.who.sudo_user}
        self._write(
            [
                _line(
                    {
                        "event": "batch", "time": int(time.time()), "boot_id": self.boot_id, "batch": batch,
                        "user": who, "command": self.who.command, "policy": self.source,
                    }
                )
            ],
            lasting=False,  # the intents that follow make it so
        )  # fmt: skip
        return batch

    def intents(self, batch: str, intents: Iterable[Intent]) -> None:
        """Write what is about to be removed, and where its backup will be."""
        form, lines = "", []
        before: Tuple[Any, ...] = ()
        for number, action, backup, names, values in intents:
            if names is None:
                lines.append(_intent(batch, number, action, backup))
                continue
            alike = (names, action.namespace, action[6:])
            if alike != before:  # as a rule many in a row are
                form, before = _form(batch, action, names), alike
            offset, sha256 = ("null", "null") if backup is None else (backup.offset, '"%s"' % backup.sha256)
            lines.append(form % (number, action.id, action.key, action.expect["uid"], *values, offset, sha256))
        self._write(lines)

    def intent(self, batch: str, number: int, verb: str, what: Mapping[str, Any], **more: Any) -> None:
        """Write that something else is about to be done to an object: ``verb`` is ``change`` or ``restore``.

        *what* is the object as described() gives it; *more* is written along, such as ``before`` and ``after``, or
        ``offset`` and ``sha256`` of a backup, told of in backed_up().
        """
        event = {"event": "intent", "batch": batch, "n": number, "verb": verb, "object": dict(what), **more}
        self._write([_line(event)])

    def changes(self, batch: str, verb: str, whats: Sequence[Tuple[Mapping[str, Any], Event]], **more: Any) -> None:
        """Write that several things are about to be changed, in one go: each as described, and its fields."""
        each = {"event": "intent", "batch": batch, "verb": verb, **more}
        self._write([_line({**each, "n": at, "object": dict(what), **own}) for at, (what, own) in enumerate(whats)])

    def backed_up(self, batch: str, pack: str) -> None:
        """Write that the backups of a batch are on the disk, in this file."""
        self._write([_line({"event": "backed-up", "time": int(time.time()), "batch": batch, "pack": pack})])

    def outcomes(self, batch: str, results: Iterable[Tuple[int, str, str, str]]) -> None:
        """Write outcomes: (number of the intent, one of OUTCOMES, the object's name, error or note)."""
        form = '{"event": "%s", "time": ' + str(int(time.time())) + ', "batch": ' + json.dumps(batch)
        form += ', "n": %d, "object": %s%s}\n'
        encoded, lines = json.encoder.encode_basestring_ascii, []
        for number, event, name, words in results:
            more = ', "%s": %s' % ("error" if event in _FAILURES else "note", encoded(words)) if words else ""
            lines.append(form % (event, number, encoded(name), more))
            self._log(event, name, words, batch)
        self._write(lines)

    def end(self) -> None:
        """Write that every intent so far has its outcome."""
        self._write([_line({"event": "end", "time": int(time.time())})])  # as _END_LINE begins

    # ------------------------------------------------------------- the file

    def _open(self) -> int:
        fd = None
        try:
            fd = self._directory.open_own(NAME, append=True)
            self._directory.sync()
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                write_all(fd, b"\n")  # a line that a crash cut off stays, and ends here
        except OSError as error:
            if fd is not None:
                os.close(fd)
            raise self._error(error) from error
        return fd

    def _length(self) -> int:
        return os.fstat(self._fd).st_size

    def _write(self, lines: Sequence[str], *, lasting: bool = True) -> None:
        fd, before = self._fd, self._length()
        try:
            write_all(fd, "".join(lines).encode())
            if lasting:
                os.fdatasync(fd)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, before)
            raise self._error(error) from error

    def _rotate(self) -> None:
        directory = self._directory
        try:
            for number in range(self.files - 2, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    directory.rename("%s.%d" % (NAME, number), "%s.%d" % (NAME, number + 1))
            if self.files > 1:
                directory.rename(NAME, NAME + ".1")
            else:
                directory.unlink(NAME)
            directory.sync()
        except OSError as error:
            raise self._error(error) from error
        fresh = self._open()
        os.close(self._fd)
        self._fd = fresh

    def _error(self, error: OSError) -> WriteError:
        return WriteError("the journal '%s' cannot be written: %s" % (self.path, error.strerror))

    # ------------------------------------------------------------- the system log

    def _log(self, event: str, name: str, words: str, batch: str) -> None:
        if len(self._messages) < SYSLOG_MOST:
            self._messages.append("%s %s%s (batch %s)" % (event, name, ": " + words if words else "", batch))
        else:
            self._untold[event] = self._untold.get(event, 0) + 1

    def _tell_syslog(self) -> None:
        """Tell the system log, as far as there is one: syslog(3), a datagram each; it never holds us up."""
        more = ["%s %d more objects; see %s" % (event, count, self.path) for event, count in self._untold.items()]
        messages, self._messages, self._untold = self._messages + more, [], {}
        if not messages or not self.syslog:
            return
        import _socket  # what `socket` adds takes longer to load than this to send

        who = self.who.sudo_user or self.who.name or "uid %d" % self.who.uid
        with contextlib.suppress(OSError):
            port = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
            try:
                port.settimeout(0)
                port.connect(self.syslog)
                for message in messages:
                    text = "<%d>ipcops[%d]: %s, by %s" % (_NOTICE, os.getpid(), message, who)
                    clean = "".join(one if one.isprintable() else "?" for one in text)
                    port.send(clean.encode("utf-8", "replace")[:_SYSLOG_BYTES])
            finally:
                port.close()


def _line(event: Event) -> str:
    return json.dumps(event) + "\n"


def _intent(batch: str, number: int, action: Action, backup: Optional[Backup]) -> str:
    return _line(_intent_event(batch, number, action, backup))


def _intent_event(batch: str, number: int, action: Action, backup: Optional[Backup]) -> Event:
    return {
        "event": "intent", "batch": batch, "n": number, "verb": "remove", "object": described(action),
        "expect": told(action.expect), "section": action.section, "reasons": action.reasons,
        "confidence": action.confidence, "backup": action.backup, "with_data": action.with_data,
        "offset": None if backup is None else backup.offset, "sha256": None if backup is None else backup.sha256,
    }  # fmt: skip


def _form(batch: str, action: Action, names: Sequence[str]) -> str:
    """Return what _intent() gives for every action like this one, with conversions where numbers stand.

    There may be 32,000 of them, and json.dumps() takes as long for one as its removal.
    """
    mark = "\0"
    conversions = {"key": '"0x%08x"', "mode": '"0%o"'}
    likeness = action._replace(id=None, key=None, expect={})
    thing = {**described(likeness), "id": mark, "key": mark, "uid": mark}
    whole = {**_intent_event(batch, 0, likeness, None), "n": mark, "object": thing}
    whole["expect"] = dict.fromkeys(names, mark)
    whole["offset"] = whole["sha256"] = mark
    pieces = json.dumps(whole).replace("%", "%%").split(json.dumps(mark))
    wanted = ["%s", "%s", conversions["key"], "%s"]  # %s takes half the time of %d
    wanted += [*(conversions.get(name, "%s") for name in names), "%s", "%s"]
    return "".join(part for pair in zip(pieces, wanted) for part in pair) + pieces[-1] + "\n"


# ---------------------------------------------------------------- reading


class Events(NamedTuple):
    """The events of one file, and its lines that are none: number, and bytes of one that was cut off."""

    events: List[Event]
    bad: List[int]
    torn: int


def parse_events(text: bytes) -> Events:
    """Return what a journal file says, as far as its lines are whole: a crash may cut off the last."""
    lines = text.split(b"\n")
    torn = len(lines.pop())
    events: List[Event] = []
    bad: List[int] = []
    for number, line in enumerate(lines, 1):
        try:
            event = json.loads(line.decode())
            whole = isinstance(event, dict) and isinstance(event["event"], str)
        except (ValueError, KeyError, RecursionError):
            whole = False
        if whole:
            events.append(event)
        else:
            bad.append(number)
    return Events(events, bad, torn)


def join(events: Sequence[Event]) -> List[Event]:
    """Return one entry for each object of each batch, in the order of the intents.

    An entry has the fields of its batch and its intent; ``event`` is its outcome, or ``intent`` where
    none is written, and ``now`` what its object was called then; ``kept`` is what a backup was to hold (``full``,
    ``metadata`` or ``none``) and ``backup`` where that lies, ``{pack, offset, sha256}``, ``None`` where there is none.
    """
    batches: Dict[Any, Event] = {}
    packs: Dict[Any, Any] = {}
    entries: Dict[Tuple[Any, Any], Event] = {}
    for event in events:
        word, batch = event["event"], event.get("batch")
        if word == "batch":
            batches[batch] = event
        elif word == "intent" and isinstance(event.get("object"), dict):
            entries[batch, event.get("n")] = {
                "time": None, "boot_id": None, "user": None, "command": None, "policy": None,
                "error": None, "note": None, **batches.get(batch, {}), **event,
                "kept": event.get("backup"), "backup": None,
            }  # fmt: skip
        elif word == "backed-up":
            packs[batch] = event.get("pack")
        elif word in OUTCOMES:
            entry = entries.get((batch, event.get("n")))
            if entry is not None:
                entry.update({name: event[name] for name in ("event", "time", "error", "note") if name in event})
                entry["now"] = event.get("object")
    for (batch, _), entry in entries.items():
        offset, sha256 = entry.pop("offset", None), entry.pop("sha256", None)
        if batch in packs and offset is not None:
            entry["backup"] = {"pack": packs[batch], "offset": offset, "sha256": sha256}
    return list(entries.values())


def read_journal(
    state: State, *, since: Optional[float] = None, kind: Optional[str] = None, key: Optional[int] = None
) -> History:
    """Return the entries of a state's journal, newest first, those of a kind or key or since a time alone.

    Raise WriteError where the directory or a file in it cannot be read.
    """
    history = History([], [])
    wanted = None if key is None else "0x%08x" % (key & 0xFFFFFFFF)
    for name, text in _files(state):
        found = parse_events(text)
        history.notes.extend(_notes(name, found))
        for entry in reversed(join(found.events)):
            if since is not None and (entry["time"] is None or entry["time"] < since):
                continue
            if kind is not None and entry["object"].get("kind") != kind:
                continue
            if wanted is not None and entry["object"].get("key") != wanted:
                continue
            history.entries.append(entry)
    return history


def unsettled(state: State) -> List[Event]:
    """Return the entries whose outcome is not written: the run that began them ended before. Oldest first."""
    events: List[Event] = []
    for _, text in _files(state):
        at = text.rfind(_END_LINE)
        events[:0] = parse_events(text[max(at, 0) :]).events
        if at >= 0:
            break
    return [entry for entry in join(events) if entry["event"] == "intent"]


def _files(state: State) -> Iterator[Tuple[str, bytes]]:
    """Yield name and content of each file of the journal, newest first."""
    directory = state.directory()
    if directory is None:
        return
    with directory:
        number = 0
        while True:
            name = "%s.%d" % (NAME, number) if number else NAME
            try:
                text = directory.read(name)
            except FileNotFoundError:
                if number:
                    return
                text = b""  # put aside a moment ago, and the next one not begun
            except OSError as error:
                raise WriteError("cannot read '%s/%s': %s" % (state.path, name, error.strerror)) from error
            yield name, text
            number += 1


def _notes(name: str, found: Events) -> List[str]:
    notes = []
    if found.torn:
        notes.append("the last line of %s was cut off after %d bytes; those before it are whole" % (name, found.torn))
    if found.bad:
        shown = ", ".join(map(str, found.bad[:5]))
        notes.append("%s of %s cannot be read: %s" % (
            "a line" if len(found.bad) == 1 else "%d lines" % len(found.bad), name, shown))  # fmt: skip
    return notes
