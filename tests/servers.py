"""Real servers of users of our own, in the units that systemd would give them, for tests.

Users are named in the world's own /etc/passwd. A unit is a control group in the hierarchy where
systemd keeps its own, below a directory that goes when the test ends; a process joins it before
its program starts, as systemd has it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import world

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
PATH = "/usr/bin:/bin"


def users(**uids: int) -> None:
    """Give names to uids, and the same names to the groups of those numbers, in this world only."""
    world.needs_root()
    for kind, tail in (("passwd", "::/nonexistent:/bin/false"), ("group", "")):
        here = world.here() / kind
        kept = [
            line
            for line in Path("/etc", kind).read_text().splitlines()
            if line.partition(":")[0] not in uids and line.split(":")[2] not in map(str, uids.values())
        ]
        added = [f"{name}:x:{uid}:{f'{uid}' if kind == 'passwd' else ''}{tail}" for name, uid in uids.items()]
        text = "\n".join([*kept, *added, ""])
        if here.exists():  # mounted already
            here.write_text(text)
        else:
            here.write_text(text)
            world.mount(str(here), f"/etc/{kind}", None, world.MS_BIND)


def private_network() -> None:
    """Leave the network namespace for one with nothing but its loopback device."""
    try:
        world.unshare(CLONE_NEWNET)
    except PermissionError as error:
        pytest.skip(f"not allowed a network namespace: {error}")
    with socket.socket() as any_socket:
        request = struct.pack("16sh22x", b"lo", 0)
        (flags,) = struct.unpack_from("16xh", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))


# ---------------------------------------------------------------------------------------------
# Units


def _hierarchy() -> Path | None:
    """Return the top of the control groups that systemd uses: its own in v1, else the one of v2."""
    found = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split()[:3]
        place = left.split()[4]
        if kind == "cgroup2":
            found[2] = Path(place)
        elif kind == "cgroup" and "name=systemd" in options.split(","):
            found[1] = Path(place)
    return found.get(1, found.get(2))


@contextmanager
def control_groups() -> Iterator[Path]:
    """Make a place for units and remove it with all that is in it; call this outside of the world."""
    top = _hierarchy()
    if top is None:
        pytest.skip("there are no control groups here that systemd would use")
    place = top / f"ipcops-tests-{os.getpid()}"
    try:
        place.mkdir()
    except OSError as error:
        pytest.skip(f"cannot make control groups here: {error}")
    try:
        yield place
    finally:
        for directory, _, _ in os.walk(place, topdown=False):
            _remove(directory)


def _remove(directory: str) -> None:
    """Remove a control group as soon as the last of its processes is reaped."""
    end = time.monotonic() + 10
    while True:
        try:
            os.rmdir(directory)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return


class Unit:
    """A unit of systemd's, as far as processes show it: the control group of its name."""

    def __init__(self, place: Path, name: str) -> None:
        self.name = name
        self.group = place / ("user.slice" if name.endswith(".scope") else "system.slice") / name
        self.group.mkdir(parents=True, exist_ok=True)

    def join(self) -> None:
        """Bring this process into it."""
        (self.group / "cgroup.procs").write_text(str(os.getpid()))

    @property
    def pids(self) -> list[int]:
        """Return its living processes."""
        found = [int(word) for word in (self.group / "cgroup.procs").read_text().split()]
        return [pid for pid in found if world.state_of(pid) not in ("Z", "X", "")]

    def kill(self) -> None:
        """Kill all its processes at once, as ``systemctl kill --signal=KILL`` does, and wait for their end."""
        for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped, none starts another or cleans up
            for pid in self.pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        world.wait_until(lambda: not self.pids, f"the end of {self.name}")
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    def remove(self) -> None:
        """Let it go, as systemd does with a unit that is over: the next of its name is another."""
        _remove(str(self.group))


def start(
    *words: str, uid: int | None = None, unit: Unit | None = None, log: Path | None = None, cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a program of a uid in a unit and in a session of its own."""

    def drop() -> None:
        os.setsid()
        if unit is not None:
            unit.join()
        if uid is not None:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)

    with (log or Path("/dev/null")).open("ab") as output:
        return subprocess.Popen(
            words,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=drop,  # noqa: PLW1509 - this process has one thread
            env={"PATH": PATH, "LC_ALL": "C"},
        )


# ---------------------------------------------------------------------------------------------
# httpd

HTTPD = next(
    (path for name in ("apache2", "httpd") if (path := shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin"))), None
)
MODULES = next((path for path in ("/usr/lib/apache2/modules", "/usr/lib64/httpd/modules") if os.path.isdir(path)), None)
PORTS = (8080, 8081)  # of a network of its own; two, so that the workers take turns by a mutex

_HTTPD = """\
ServerRoot "{place}"
ServerName localhost
{modules}
Listen 127.0.0.1:{ports[0]}
Listen 127.0.0.1:{ports[1]}
User {user}
Group {user}
Mutex sysvsem default
PidFile "{place}/pid"
ErrorLog "{place}/error.log"
DocumentRoot "{place}/pages"
StartServers 3
MinSpareServers 3
MaxSpareServers 3
MaxRequestWorkers 3
"""


class Httpd:
    """A web server whose mutexes are System V sets: made as root, given to the user of its workers."""

    def __init__(self, user: str) -> None:
        if HTTPD is None or MODULES is None:
            pytest.skip("httpd is not installed (apache2-bin)")
        self.place = world.here() / "httpd"
        (self.place / "pages").mkdir(parents=True)
        (self.place / "pages" / "index.html").write_text("it works\n")
        modules = [
            f'LoadModule {name}_module "{MODULES}/mod_{name}.so"'
            for name in ("mpm_prefork", "authn_core", "authz_core", "auth_digest", "rewrite", "unixd")
            if os.path.exists(f"{MODULES}/mod_{name}.so")
        ]
        config = _HTTPD.format(place=self.place, modules="\n".join(modules), ports=PORTS, user=user)
        (self.place / "httpd.conf").write_text(config)

    def start(self, unit: Unit) -> None:
        """Start it and wait until it serves on both ports."""
        log = self.place / "output"
        process = start(
            HTTPD or "", "-f", str(self.place / "httpd.conf"), "-D", "FOREGROUND", unit=unit, log=log, cwd=self.place
        )

        def serves() -> bool:
            assert process.poll() is None, log.read_text() + (self.place / "error.log").read_text()
            with suppress(OSError):
                return all(self.get(port) == 200 for port in PORTS)
            return False

        world.wait_until(serves, "httpd serves")

    def get(self, port: int) -> int:
        """Return the status of a request for its page."""
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
            answer = connection.makefile("rb").read()
        found = re.match(rb"HTTP/1\.1 (\d+)", answer)
        assert found, answer
        return int(found[1])


# ---------------------------------------------------------------------------------------------
# PostgreSQL

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
POSTGRES = str(BINARIES[-1]) if BINARIES else shutil.which("postgres")


class Postgres:
    """A cluster with its memory in a System V segment, and its server."""

    def __init__(self, uid: int, name: str = "server") -> None:
        if not POSTGRES:
            pytest.skip("PostgreSQL is not installed")
        self.uid = uid
        self.directory = world.here() / name
        self.directory.mkdir(mode=0o700)
        os.chown(self.directory, uid, uid)
        self.data = self.directory / "data"
        self.log = world.here() / f"{name}.log"
        initdb = os.path.join(os.path.dirname(POSTGRES), "initdb")
        words = (initdb, "-D", str(self.data), "-A", "trust", "-N", "--no-locale", "-E", "UTF8")
        status = start(*words, uid=uid, log=self.log, cwd=self.directory).wait()
        assert status == 0, self.log.read_text()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, unit: Unit | None = None) -> None:
        """Start it and wait until it takes connections."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.directory),
            "shared_memory_type": "sysv",
            "dynamic_shared_memory_type": "posix",
            "shared_buffers": "16MB",
            "max_connections": "10",
            "fsync": "off",
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        program = (POSTGRES or "", "-D", str(self.data), *words)
        self.process = start(*program, uid=self.uid, unit=unit, log=self.log, cwd=self.directory)
        pid_file = self.data / "postmaster.pid"

        def ready() -> bool:
            assert self.process
            assert self.process.poll() is None, self.log.read_text()
            with suppress(FileNotFoundError, IndexError):  # it is there before anything stands in it
                words = pid_file.read_text().split()  # a killed server's stays for a while
                return words[0] == str(self.process.pid) and words[-1] == "ready"
            return False

        world.wait_until(ready, "the server is ready", 30)

    @property
    def pids(self) -> list[int]:
        """Return its living processes."""
        assert self.process
        return [pid for pid in (self.process.pid, *world.descendants(self.process.pid)) if lives_as(pid, self.uid)]

    def kill(self) -> None:
        """Kill it with SIGKILL, all processes at once, and wait for their end."""
        assert self.process
        pids = self.pids
        for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped, none notices the others' end
            for pid in pids:
                os.kill(pid, number)
        self.process.wait()
        world.wait_until(lambda: not any(lives_as(pid, self.uid) for pid in pids), "the end of the server")

    def query(self, statement: str) -> str:
        """Return what it answers."""
        psql = os.path.join(os.path.dirname(POSTGRES or ""), "psql")
        words = (psql, "-XAtq", "-h", str(self.directory), "-d", "postgres", "-c", statement)
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            user=self.uid,
            group=self.uid,
            extra_groups=(),
            env={"PATH": PATH},
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @property
    def segment(self) -> tuple[int, int]:
        """Return key and id of its segment, as its own file says them; a killed server's file stays."""
        key, number = (self.data / "postmaster.pid").read_text().splitlines()[6].split()
        return int(key) & 0xFFFFFFFF, int(number)


def lives_as(pid: int, uid: int) -> bool:
    """Tell whether a process of a user lives under this number."""
    try:
        return os.stat(f"/proc/{pid}").st_uid == uid and world.state_of(pid) not in ("Z", "X", "")
    except OSError:
        return False
