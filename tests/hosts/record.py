"""Record a host: ``python -m tests.hosts.record NAME [--scene SCENE] [--as UID] [--later 2d]``.

It wraps the real Directory and Kernel, lets the core list everything, and writes down every answer
as tests/hosts/NAME.txt. The text holds nothing that tells which machine it was: the host's name,
its boot and whatever the core does not look at are left out. A scene (tests/hosts/scenes.py) is
played in namespaces of its own, and then recorded as if these were the host's.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from ipcops.core import fs
from ipcops.core.collect import mqueue, users
from ipcops.core.collect.host import INITIAL_PID_NAMESPACE, USER_SLICE_MEMORY
from ipcops.core.kernel import Kernel
from ipcops.core.model import INITIAL_IPC_NAMESPACE, REMOVABLE_KINDS
from ipcops.core.policy import DEFAULT_PATH, parse_duration
from ipcops.core.run import run

from .replay import HERE, MQUEUE, call_key, escaped, word

_POINTS = frozenset((b"/", b"/proc", b"/dev", b"/dev/shm", b"/dev/mqueue"))
_STATUS = (b"Name:", b"State:", b"Tgid:", b"Pid:", b"Uid:", b"Gid:", b"Groups:")
_KEPT_LINKS = re.compile(r"/dev/shm(/|$)|/dev/mqueue(/|$)|/[^/]*\Z")


class Recording:
    """Everything that was asked and answered."""

    def __init__(self) -> None:
        self.facts: dict[str, str] = {}
        self.users: dict[int, Any] = {}
        self.groups: dict[int, Any] = {}
        self.records: dict[tuple[str, str], Any] = {}
        self.opened: dict[int, str] = {}

    def noted(self, what: str, path: str, ask: Callable[[], Any]) -> Any:
        """Return what *ask* returns or raises, having written it down."""
        try:
            answer = ask()
        except OSError as error:
            self.records[what, path] = error
            raise
        self.records[what, path] = answer
        return answer


class Directory:
    """A real directory, every answer of which is written down."""

    def __init__(self, recording: Recording, real: fs.Directory, path: str) -> None:
        self.recording, self.real, self.path = recording, real, path

    def at(self, name: str) -> str:
        """Return the path of a name in this directory."""
        return "%s/%s" % (self.path, name) if name else self.path

    def directory(self, name: str) -> Directory:
        """Open a directory in this one; only a failure is worth a line."""
        try:
            real = self.real.directory(name)
        except OSError as error:
            self.recording.records["Open", self.at(name)] = error
            raise
        return Directory(self.recording, real, self.at(name))

    def close(self) -> None:
        """Give the descriptor back."""
        self.real.close()

    def __enter__(self) -> Directory:  # noqa: PYI034  # Python 3.9 has no Self
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return self.recording.noted("Path", self.at(name), lambda: self.real.read(name))

    def read_record(self, name: str) -> bytes:
        """Return the content of a small file."""
        return self.recording.noted("Path", self.at(name), lambda: self.real.read_record(name))

    def link(self, name: str) -> str:
        """Return where a link points."""
        return self.recording.noted("Link", self.at(name), lambda: self.real.link(name))

    def names(self, name: str = "") -> list[str]:
        """Return the names in a directory."""
        return self.recording.noted("Dir", self.at(name), lambda: self.real.names(name))

    def links(self) -> Iterator[tuple[str, str]]:
        """Yield name and target of every link in this directory."""
        for name in self.names():
            with contextlib.suppress(FileNotFoundError):
                yield name, self.link(name)

    def info(self, name: str, *, follow: bool = False) -> fs.FileInfo:
        """Return what stat(2) says."""
        what = "Target" if follow else "Stat"
        return self.recording.noted(what, self.at(name), lambda: self.real.info(name, follow=follow))

    def own_info(self) -> fs.FileInfo:
        """Return what stat(2) says of this directory itself."""
        return self.recording.noted("Stat", self.path + "/.", self.real.own_info)

    def space(self) -> fs.Space:
        """Return how full the file system is."""
        return self.recording.noted("Space", self.path, self.real.space)

    @contextlib.contextmanager
    def opened(self, name: str, *, follow: bool = False) -> Iterator[int]:
        """Open a file, and remember which it is."""
        try:
            context = self.real.opened(name, follow=follow)
            fd = context.__enter__()
        except OSError as error:
            self.recording.records["Open", self.at(name)] = error
            raise
        self.recording.opened[fd] = self.at(name)
        try:
            yield fd
        finally:
            context.__exit__(None, None, None)


class Roots:
    """The real roots, recorded."""

    shm_path = "/dev/shm"
    foreign = False

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.proc = Directory(recording, fs.Directory.open("/proc"), "/proc")

    def shm(self) -> Directory:
        """Open the directory of POSIX shared memory."""
        return Directory(self.recording, fs.Directory.open("/dev"), "/dev").directory("shm")


class RecordedKernel:
    """The real kernel, recorded."""

    def __init__(self, recording: Recording) -> None:
        self.recording, self.real = recording, Kernel()

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            told: list[Any] = list(arguments)
            if name == "queue_attributes":
                told = [self.recording.opened[arguments[0]]]
            answer = self.recording.noted("Call", call_key(name, told), lambda: getattr(self.real, name)(*arguments))
            if name == "mqueue_directory":
                self.recording.records["Call", call_key(name, told)] = True
            return answer

        return call


class _Directories:
    """Stands for the class Directory where it opens a mount of queues."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording

    def __call__(self, descriptor: int) -> Directory:
        return Directory(self.recording, fs.Directory(descriptor), MQUEUE)

    def open(self, path: str) -> Directory:
        """Open the directory at a path."""
        parent, _, name = path.rpartition("/")
        return Directory(self.recording, fs.Directory.open(parent), parent).directory(name)


def record(name: str) -> Recording:
    """Return what the core asks of this host, and is answered."""
    recording = Recording()
    real_text = fs.read_text

    def text(path: str) -> str:
        if path in (USER_SLICE_MEMORY, DEFAULT_PATH):
            recording.records["Path", path] = FileNotFoundError(errno.ENOENT, "")
            raise FileNotFoundError(errno.ENOENT, "")
        return real_text(path)

    def remembered(read: Any, into: dict[int, Any]) -> Any:
        def names(ids: Any) -> Any:
            found = read(ids)
            into.update(found)
            return found

        return names

    now = time.time()
    with contextlib.ExitStack() as stack:
        for patch in (
            mock.patch.object(fs, "read_text", text),
            mock.patch.object(mqueue, "Directory", _Directories(recording)),
            mock.patch.object(users, "read_users", remembered(users.read_users, recording.users)),
            mock.patch.object(users, "read_groups", remembered(users.read_groups, recording.groups)),
        ):
            stack.enter_context(patch)
        run({"command": "list", "kinds": list(REMOVABLE_KINDS)}, Roots(recording), RecordedKernel(recording))
    _, release, machine = fs.version()
    recording.facts = {
        "hostname": "host-" + name,
        "kernel": re.match(r"[0-9.]*[0-9]", release).group(),
        "machine": machine,
        "root": "yes" if fs.is_root() else "no",
        "now": "%d" % now,
        "page_size": str(fs.page_size()),
        "clock_ticks": str(fs.clock_ticks()),
    }
    return recording


# ---------------------------------------------------------------- what may leave the machine


def anonymous(recording: Recording, later: float) -> None:
    """Take out what identifies the machine and what the core does not look at; let time pass."""
    records = recording.records
    spaces = {
        records.get(("Link", "/proc/self/ns/ipc")): "ipc:[%d]" % INITIAL_IPC_NAMESPACE,
        records.get(("Link", "/proc/self/ns/pid")): "pid:[%d]" % INITIAL_PID_NAMESPACE,
        records.get(("Link", "/proc/self/ns/mnt")): "mnt:[4026531841]",
    }
    places = {
        b"%d:%d" % (os.major(info.dev), os.minor(info.dev))
        for info in records.values()
        if isinstance(info, fs.FileInfo)
    }
    for (what, path), answer in list(records.items()):
        if isinstance(answer, OSError):
            continue
        if what == "Link":
            records[what, path] = spaces.get(answer, answer if kept_link(path, answer) else "/some/file")
        elif what == "Dir" and path == "/proc":
            records[what, path] = sorted((one for one in answer if one.isdigit()), key=int)
        elif what == "Path":
            records[what, path] = shortened(path, answer, places)
    records["Path", "/proc/sys/kernel/random/boot_id"] = b"00000000-0000-4000-8000-000000000000\n"
    seconds, rest = records["Path", "/proc/uptime"].split(b" ", 1)
    del rest
    records["Path", "/proc/uptime"] = b"%.2f 0.00\n" % (float(seconds) + later)
    recording.facts["now"] = "%d" % (int(recording.facts["now"]) + later)


def kept_link(path: str, target: str) -> bool:
    """Whether a link's target may stand: it is about IPC, or no file at all."""
    return "/fd/" not in path or not target.startswith("/") or bool(_KEPT_LINKS.match(target))


def shortened(path: str, text: bytes, places: Any) -> bytes:
    """Return only those lines of a file that the core takes anything from."""
    lines = text.split(b"\n")
    name = path.rpartition("/")[2]
    if name == "maps":
        devices = [b" %02x:%02x " % tuple(map(int, place.split(b":"))) for place in places]
        wanted = [b"[heap]", b"[stack]", b"/SYSV", *devices]
        lines = [line for line in lines if any(one in line for one in wanted)]
    elif name == "status":
        lines = [line for line in lines if line.startswith(_STATUS)]
    elif name == "meminfo":
        lines = [line for line in lines if line.startswith(b"MemTotal:")]
    elif name == "limits":
        lines = [line for line in lines if line.startswith((b"Limit ", b"Max msgqueue"))]
    elif name == "mountinfo":
        lines = [plain_mount(line) for line in lines if line and line.split(b" ")[4] in _POINTS]
    else:
        return text
    return b"\n".join([line for line in lines if line] + [b""])


def plain_mount(line: bytes) -> bytes:
    """Return a line of mountinfo without where its file system comes from."""
    left, _, right = line.partition(b" - ")
    fields, fstype = left.split(b" "), right.split(b" ")[0]
    if fields[4] == b"/":
        fields[3], fstype = b"/", b"ext4"
    return b"%s - %s none rw" % (b" ".join(fields[:6]), fstype)


# ---------------------------------------------------------------- writing


def text_of(recording: Recording) -> str:
    """Return a capture as text, one record after the other in order of their paths."""
    lines = ["# A captured host for tests/core; the format is in tests/hosts/README.md."]
    lines += ["Fact %s %s" % (name, word(value)) for name, value in recording.facts.items()]
    for title, names in (("User", recording.users), ("Group", recording.groups)):
        lines += [("%s %d %s" % (title, number, word(name or ""))).rstrip() for number, name in sorted(names.items())]
    for (what, path), answer in sorted(recording.records.items(), key=_order):
        lines += written(what, path, answer)
    return "\n".join(lines) + "\n"


def _order(item: Any) -> Any:
    (what, path), _ = item
    parts = [(not piece.isdigit(), piece.zfill(9) if piece.isdigit() else piece) for piece in path.split("/")]
    return what == "Call", parts, what


def written(what: str, path: str, answer: Any) -> list[str]:
    """Return the lines of one record."""
    if isinstance(answer, OSError):
        return ["Error %s %s %s" % (what, word(path), errno.errorcode[answer.errno])]
    if what == "Path":
        lines = ["Path " + word(path)]
        if answer:
            whole = answer if answer.endswith(b"\n") else answer + b"\n"
            pieces = [shown(line) for line in whole[:-1].split(b"\n")]
            if whole is not answer:
                pieces[-1] += "\\c"
            lines += ["\t" + piece for piece in pieces]
        return lines
    if what == "Link":
        return ["Link %s %s" % (word(path), word(answer))]
    if what == "Dir":
        return [" ".join(["Dir", word(path), *map(word, answer)])]
    if what == "Call":
        name, bracket, rest = path.partition("[")
        return ["Call %s %s %s" % (name, bracket + rest, json.dumps(answer, default=list))]
    fields = " ".join(("%s=%o" if key == "mode" else "%s=%d") % (key, value) for key, value in answer._asdict().items())
    return ["%s %s %s" % (what, word(path), fields)]


def shown(line: bytes) -> str:
    """Return one line of a file; a blank at its end would be lost in an editor."""
    text = escaped(line).replace("\\x09", "\t")
    return text[:-1] + "\\x20" if text.endswith(" ") else text


def main() -> None:
    """Record this host, or a scene."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--scene")
    parser.add_argument("--as", dest="uid", type=int)
    parser.add_argument("--later", type=parse_duration, default=0.0)
    wanted = parser.parse_args()

    def taken() -> str:
        recording = record(wanted.name)
        anonymous(recording, wanted.later)
        return text_of(recording)

    if wanted.scene:
        from .scenes import played

        text = played(wanted.scene, taken, wanted.uid)
    else:
        text = taken()
    path = Path(HERE) / (wanted.name + ".txt")
    path.write_text(text, encoding="ascii")
    print("%s: %d lines" % (path, text.count("\n")), file=sys.stderr)


if __name__ == "__main__":
    main()
