"""A captured host: stand-ins for ``Roots``, ``Directory`` and ``Kernel`` that answer from a text file.

The format is described in README.md. What a capture does not hold fails the test loudly, so that
nothing is taken for absent that was merely not asked for then; ``Fact otherwise ENOENT`` says
that whatever is not in the file does not exist.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from ipcops.core import fs
from ipcops.core.collect import mqueue, processes, snapshot, users
from ipcops.core.fs import FileInfo, Space
from ipcops.core.kernel import Usage
from ipcops.core.model import Semaphores

HERE = Path(__file__).resolve().parent
MQUEUE = "mqueue:"
"""Where the mount of queues that is attached nowhere is found in a capture."""

_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
_FORMS: dict[str, Any] = {"sem_usage": Usage, "msg_usage": Usage, "semaphores": Semaphores}


class NotCapturedError(AssertionError):
    """The core asked for something that the capture does not hold."""


def escaped(raw: bytes, also: bytes = b"") -> str:
    """Return bytes as one printable piece of a line; *also* are escaped, too."""
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte != 0x5C and byte not in also else "\\x%02x" % byte for byte in raw
    )


def unescaped(text: str) -> bytes:
    """Return what :func:`escaped` was given."""
    return b"".join(
        bytes([int(piece, 16)]) if at % 2 else piece.encode("ascii") for at, piece in enumerate(_ESCAPE.split(text))
    )


def word(text: str) -> str:
    """Return a path or another word of a line."""
    return escaped(os.fsencode(text), also=b" ")


def unword(text: str) -> str:
    """Return what :func:`word` was given."""
    return os.fsdecode(unescaped(text))


class Capture:
    """What one file of ``tests/hosts`` says."""

    def __init__(self) -> None:
        self.facts: dict[str, str] = {}
        self.users: dict[int, str | None] = {}
        self.groups: dict[int, str | None] = {}
        self.records: dict[tuple[str, str], Any] = {}
        """(what, path) to bytes, a string, a list, a FileInfo, a Space, a call's answer or an OSError."""

    def ask(self, what: str, path: str) -> Any:
        """Return a record; raise the error that was captured, or NotCapturedError."""
        answer = self.records.get((what, path), self)
        if answer is self:
            if "otherwise" in self.facts:
                raise failure(self.facts["otherwise"])
            raise NotCapturedError("this capture has no '%s %s'; take it anew (tests/hosts/README.md)" % (what, path))
        if isinstance(answer, OSError):
            raise type(answer)(answer.errno, answer.strerror)
        return answer

    def open(self, path: str) -> str:
        """Return the path of a directory that is opened; raise the error that was captured."""
        if ("Open", path) in self.records or not self.holds(path):
            self.ask("Open", path)
        return path

    def holds(self, path: str) -> bool:
        """Whether anything is known of a directory or in it."""
        return any(one == path or one.startswith(path + "/") for what, one in self.records if what != "Call")


def failure(name: str) -> OSError:
    """Return the error of a name such as EACCES."""
    code = getattr(errno, name)
    return OSError(code, os.strerror(code))


# ---------------------------------------------------------------- the format


def load(name: str) -> Capture:
    """Return the capture of that name in this directory."""
    return parse((HERE / (name + ".txt")).read_text(encoding="ascii"))


def parse(text: str) -> Capture:
    """Return the capture that *text* describes. Raise ValueError at a line that says nothing."""
    capture = Capture()
    content: list[str] = []
    for line in text.split("\n"):
        if line.startswith("\t"):
            content.append(line[1:])
        elif line and not line.startswith("#"):
            kind, _, rest = line.partition(" ")
            if kind not in _READERS:
                raise ValueError("'%s' is no record" % line)
            content = []
            _READERS[kind](capture, rest, content)
    for key, lines in capture.records.items():
        if isinstance(lines, list) and key[0] == "Path":
            whole = "\n".join(lines) + "\n" if lines else ""
            capture.records[key] = unescaped(whole.removesuffix("\\c\n"))
    return capture


def _fact(capture: Capture, rest: str, _: list[str]) -> None:
    name, _, value = rest.partition(" ")
    capture.facts[name] = unword(value)


def _name(names: str) -> Any:
    def read(capture: Capture, rest: str, _: list[str]) -> None:
        number, _, name = rest.partition(" ")
        getattr(capture, names)[int(number)] = unword(name) or None

    return read


def _path(capture: Capture, rest: str, content: list[str]) -> None:
    capture.records["Path", unword(rest)] = content


def _link(capture: Capture, rest: str, _: list[str]) -> None:
    path, target = rest.split(" ")
    capture.records["Link", unword(path)] = unword(target)


def _dir(capture: Capture, rest: str, _: list[str]) -> None:
    path, *names = rest.split(" ")
    capture.records["Dir", unword(path)] = [unword(name) for name in names]


def _numbers(what: str, make: Any) -> Any:
    def read(capture: Capture, rest: str, _: list[str]) -> None:
        path, *pairs = rest.split(" ")
        fields = dict(pair.split("=") for pair in pairs)
        capture.records[what, unword(path)] = make(
            **{name: int(value, 8 if name == "mode" else 10) for name, value in fields.items()}
        )

    return read


def _call(capture: Capture, rest: str, _: list[str]) -> None:
    name, _, rest = rest.partition(" ")
    decoder = json.JSONDecoder()
    arguments, end = decoder.raw_decode(rest)
    capture.records["Call", call_key(name, arguments)] = decoder.raw_decode(rest[end:].lstrip())[0]


def _error(capture: Capture, rest: str, _: list[str]) -> None:
    what, path, name = rest.split(" ")
    key = call_key(*call_of(path)) if what == "Call" else unword(path)
    capture.records[what, key] = failure(name)


_READERS: dict[str, Any] = {
    "Fact": _fact,
    "User": _name("users"),
    "Group": _name("groups"),
    "Path": _path,
    "Link": _link,
    "Dir": _dir,
    "Stat": _numbers("Stat", FileInfo),
    "Target": _numbers("Target", FileInfo),
    "Space": _numbers("Space", Space),
    "Call": _call,
    "Error": _error,
}


def call_key(name: str, arguments: Iterable[Any]) -> str:
    """Return what a call of the kernel is remembered by."""
    return "%s%s" % (name, json.dumps(list(arguments), separators=(",", ":")))


def call_of(key: str) -> tuple[str, list[Any]]:
    """Return name and arguments of a call."""
    name, bracket, rest = key.partition("[")
    return name, json.loads(bracket + rest)


# ---------------------------------------------------------------- the stand-ins


class Directory:
    """Answers like ipcops.core.fs.Directory."""

    def __init__(self, capture: Capture, path: str) -> None:
        self.capture, self.path = capture, path
        self.fd = -1

    def at(self, name: str) -> str:
        """Return the path of a name in this directory."""
        return "%s/%s" % (self.path, name) if name else self.path

    def directory(self, name: str) -> Directory:
        """Open a directory in this one."""
        return Directory(self.capture, self.capture.open(self.at(name)))

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> Directory:  # noqa: PYI034  # Python 3.9 has no Self
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return self.capture.ask("Path", self.at(name))

    read_record = read

    def link(self, name: str) -> str:
        """Return where a link points."""
        return self.capture.ask("Link", self.at(name))

    def names(self, name: str = "") -> list[str]:
        """Return the names in a directory."""
        return list(self.capture.ask("Dir", self.at(name)))

    def links(self) -> Iterator[tuple[str, str]]:
        """Yield name and target of every link in this directory."""
        for name in self.names():
            with contextlib.suppress(FileNotFoundError):
                yield name, self.link(name)

    def info(self, name: str, *, follow: bool = False) -> FileInfo:
        """Return what stat(2) says."""
        return self.capture.ask("Target" if follow else "Stat", self.at(name))

    def own_info(self) -> FileInfo:
        """Return what stat(2) says of this directory itself."""
        return self.capture.ask("Stat", self.path + "/.")

    def space(self) -> Space:
        """Return how full the file system is."""
        return self.capture.ask("Space", self.path)

    @contextlib.contextmanager
    def opened(self, name: str, *, follow: bool = False) -> Iterator[Any]:
        """Give something that stands for a descriptor of the file."""
        if ("Open", self.at(name)) in self.capture.records:
            self.capture.ask("Open", self.at(name))
        yield self.at(name)


class Roots:
    """Answers like ipcops.core.fs.Roots."""

    shm_path = "/dev/shm"
    foreign = False

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self.proc = Directory(capture, "/proc")

    def shm(self) -> Directory:
        """Open the directory of POSIX shared memory."""
        return Directory(self.capture, "/dev").directory("shm")


class Kernel:
    """Answers like ipcops.core.kernel.Kernel."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture

    def mqueue_directory(self) -> Any:
        """Return what stands for the descriptor of a mount of our own."""
        self.capture.ask("Call", call_key("mqueue_directory", []))
        return MQUEUE

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*arguments: Any) -> Any:
            answer = self.capture.ask("Call", call_key(name, arguments))
            if answer is None:
                return None
            if name == "semaphores":
                return Semaphores(*map(tuple, answer))
            return _FORMS[name](*answer) if name in _FORMS else answer

        return call


class _Directories:
    """Stands for the class Directory where it opens a mount of queues."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture

    def __call__(self, descriptor: str) -> Directory:
        return Directory(self.capture, descriptor)

    def open(self, path: str) -> Directory:
        """Open the directory at a path."""
        parent, _, name = path.rpartition("/")
        return Directory(self.capture, parent).directory(name)


class Clock:
    """Stands for the module time: epoch seconds of the capture, and a monotonic clock that a test moves."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.ticks = 0.0

    def time(self) -> float:
        """Return the epoch second."""
        return self.now

    def monotonic(self) -> float:
        """Return a reading that does not move by itself."""
        return self.ticks

    def sleep(self, seconds: float) -> None:
        """Let time pass at once."""
        self.ticks += seconds


@contextlib.contextmanager
def replayed(capture: Capture) -> Iterator[types.SimpleNamespace]:
    """Let the core see the captured host: ``roots``, ``kernel``, ``clock`` and ``capture``."""
    facts = capture.facts
    clock = Clock(float(facts["now"]))

    def names(known: dict[int, str | None]) -> Any:
        return lambda ids: {one: known.get(one) for one in ids}

    def uids(wanted: Iterable[str]) -> frozenset[str]:
        return frozenset("uid %d" % uid for uid, name in capture.users.items() if name in set(wanted))

    def text(path: str) -> str:
        return os.fsdecode(capture.ask("Path", path))

    patches = (
        mock.patch.object(fs, "version", return_value=(facts["hostname"], facts["kernel"], facts["machine"])),
        mock.patch.object(fs, "is_root", return_value=facts["root"] == "yes"),
        mock.patch.object(fs, "page_size", return_value=int(facts["page_size"])),
        mock.patch.object(fs, "read_text", text),
        mock.patch.object(processes, "clock_ticks", return_value=int(facts["clock_ticks"])),
        mock.patch.object(processes, "time", clock),
        mock.patch.object(snapshot, "time", clock),
        mock.patch.object(mqueue, "Directory", _Directories(capture)),
        mock.patch.object(users, "read_users", names(capture.users)),
        mock.patch.object(users, "read_groups", names(capture.groups)),
        mock.patch.object(users, "read_members", lambda wanted: {name: frozenset() for name in wanted}),
        mock.patch.object(users, "read_uids", uids),
    )
    with contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        yield types.SimpleNamespace(roots=Roots(capture), kernel=Kernel(capture), clock=clock, capture=capture)
