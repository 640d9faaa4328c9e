"""Hosts for the proofs of the jobs: containers that a bundle is installed on, as an administrator does it.

What is removed for good must have nobody outside the container who could use it, and from inside a container that
can't be seen. So where a host is a container with processes of its own, the bundle is built from a copy of the
sources that takes those for the whole machine: one line differs.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import containers
from tests.world import GONE, REPO

if TYPE_CHECKING:
    from collections.abc import Iterator

SUITES = ("bullseye", "bookworm", "trixie")
HERE = Path(__file__).parent

# What the unit may keep (templates/ipc-cleanup.service.j2), and what systemd and cron need to start it.
CAPABILITIES = (
    "SYS_ADMIN", "SYS_PTRACE", "IPC_OWNER", "DAC_READ_SEARCH", "NET_ADMIN", "MKNOD", "AUDIT_CONTROL", "AUDIT_WRITE",
)  # fmt: skip

POLICY = """\
[scan]
unreadable_ok = init.scope
[clean]
second_sighting = 0
{more}
[remove everything]
kind = shm sem msg posix-shm posix-sem posix-mq
owner = nameless
accept = strong
min_age = 3s
"""

# Paths with all that may stand in them. The log's has no quote: logrotate could not read it, so it is refused.
AWKWARD = {
    "lib": "/opt/ip c$x'%y/lib",
    "bin": "/opt/ip c$x'%y/bin",
    "policy": "/etc/ip c$x'%y/own.conf",
    "state": "/var/lib/ip c$x'%y",
    "log": "/var/log/ip c$x%y",
    "textfiles": "/srv/ip c$x'%y",
}

_one_at_a_time = threading.Lock()

KINDS = ("shm", "sem", "msg", "posix-shm", "posix-sem", "posix-mq")

# Where nothing of ours goes, and things change by themselves.
ELSEWHERE = (
    "/proc", "/sys", "/dev", "/run", "/tmp", "/root", "/opt/bundle", "/opt/leaks.py", "/opt/mail", "/var/log/journal",
    "/var/lib/systemd/random-seed", "/var/cache/ldconfig",
)  # fmt: skip


# ---------------------------------------------------------------------------------------------
# Bundles


@functools.cache
def _sources() -> tempfile.TemporaryDirectory[str]:
    """Return a copy of the sources that takes a container for the whole machine."""
    place = tempfile.TemporaryDirectory(prefix="ipcops-jobs-")
    copy = Path(place.name, "ipcops")
    shutil.copytree(REPO / "ipcops", copy, ignore=shutil.ignore_patterns("__pycache__"))
    host = copy / "core/collect/host.py"
    before = host.read_text()
    after = before.replace('return read_namespace(proc, "pid") in (0, INITIAL_PID_NAMESPACE)', "return True")
    assert before != after
    host.write_text(after)
    return place


def command(*words: str, sources: str | Path = REPO) -> subprocess.CompletedProcess[str]:
    """Run ``ipcops`` on this machine."""
    return subprocess.run(
        [sys.executable, "-c", "from ipcops.cli.main import main; main()", *words],
        cwd=sources,
        env={**os.environ, "PYTHONPATH": str(sources)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


SENDMAIL = """\
#!/bin/sh
mkdir -p /opt/mail
cat >"/opt/mail/$$.new" && mv "/opt/mail/$$.new" "/opt/mail/$$"
"""


def mail(one: Host) -> str:
    """Return what cron has mailed."""
    return one.sh("cat /opt/mail/* 2>&-", check=False).stdout


def cron(one: Host) -> None:
    """Start it, with a sendmail that keeps what it gets."""
    one.sh('printf %s "$1" >/usr/sbin/sendmail && chmod 755 /usr/sbin/sendmail', SENDMAIL)
    one.sh("nohup cron -f >/dev/null 2>&1 &")


_places: list[tempfile.TemporaryDirectory[str]] = []  # they go when the tests end


@functools.cache
def bundle(*assignments: str, policy: str | None = None, whole_machine: bool = True) -> Path:
    """Return a directory that ``ipcops bundle`` wrote, with ``--set`` of each assignment."""
    place = tempfile.TemporaryDirectory(prefix="ipcops-bundle-")
    _places.append(place)
    words = [word for one in assignments for word in ("--set", one)]
    if policy is not None:
        given = Path(place.name, "policy")
        given.write_text(policy)
        words += ["--policy", str(given)]
    done = command("bundle", f"{place.name}/bundle", *words, sources=_sources().name if whole_machine else REPO)
    assert done.returncode == 0, done.stderr
    return Path(place.name, "bundle")


# ---------------------------------------------------------------------------------------------
# Hosts


class Host:
    """A container, and what a bundle puts there."""

    def __init__(
        self,
        box: containers.Container,
        *,
        command: str = "/usr/local/sbin/ipcops",
        lib: str = "/usr/local/lib/ipcops",
        state: str = "/var/lib/ipcops",
        log: str = "/var/log/ipcops",
    ) -> None:
        """Say where the bundle puts things."""
        self.box = box
        self.command, self.lib, self.state, self.log = command, lib, state, log
        self.planted: dict[str, dict[str, Any]] = {}
        self.before: dict[str, str] = {}

    def sh(self, script: str, *words: str, check: bool = True, user: str | None = None) -> subprocess.CompletedProcess:
        """Run a shell script inside, with words for $1 and so on."""
        return self.box.exec("sh", "-c", script, "sh", *words, check=check, user=user, timeout=120)

    def text(self, path: str) -> str:
        """Return what is in a file, or nothing where there is none."""
        return self.sh('[ ! -e "$1" ] || cat "$1"', path).stdout

    def bring(self, given: Path) -> None:
        """Copy a bundle in, in the place of the one before."""
        self.sh("rm -rf /opt/bundle")
        self.box.copy_in(given, "/opt/bundle")

    def install(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Install from the bundle."""
        return self.box.exec("sh", "/opt/bundle/install.sh", *words, check=check, timeout=120)

    def installed(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the installer that was installed, with ``--verify`` and the like."""
        return self.box.exec("sh", f"{self.lib}/install.sh", *words, check=check, timeout=120)

    def ipcops(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the command that was installed."""
        return self.box.exec(self.command, *words, check=check)

    def job(self, *words: str, check: bool = True, name: str = "cleanup") -> subprocess.CompletedProcess[str]:
        """Run a job by hand."""
        return self.box.exec(f"{self.lib}/ipc-{name}.sh", *words, check=check)

    def result(self, name: str = "cleanup") -> dict[str, Any] | None:
        """Return what a job says of its last run."""
        text = self.text(f"{self.state}/jobs/{name}.json")
        return json.loads(text) if text else None

    def plant(self, word: str = "", python: str = "python3") -> None:
        """Leave objects behind, and hold others; *word* tells them from those of an earlier time."""
        self.box.copy_in(HERE / "leaks.py", "/opt/leaks.py")
        script = 'nohup "$1" -I /opt/leaks.py "$2" "$3" >"/run/leaks$3.json" 2>/run/leaks.err </dev/null &'
        self.sh(script, python, str(GONE), word)
        self.planted = json.loads(self.wait(lambda: self.text(f"/run/leaks{word}.json"), "the objects to be there", 20))

    def there(self, names: dict[str, Any]) -> set[str]:
        """Return the kinds of those of some objects that are there."""
        script = r"""
        for kind in shm sem msg; do awk -v kind=$kind 'NR > 1 { print kind ":" $2 }' /proc/sysvipc/$kind; done
        find /dev/shm -mindepth 1 -printf '/%P\n'
        find /dev/mqueue -mindepth 1 -printf 'mq:/%P\n'
        """
        found = set(self.sh(script).stdout.split())
        prefix = {"shm": "shm:", "sem": "sem:", "msg": "msg:", "posix-mq": "mq:"}
        return {kind for kind, name in names.items() if f"{prefix.get(kind, '')}{name}" in found}

    def listing(self, *, times: bool = False) -> dict[str, str]:
        """Return what is on the host's own file system, by path: type, mode, owner, size, and checksum or target.

        With ``times`` also when each was changed (its ctime, which every write sets).
        """
        pruned = " -o ".join(f"-path {path}" for path in ELSEWHERE)
        more = r"\t%T@\t%C@" if times else ""
        script = (
            f"find / -xdev \\( {pruned} \\) -prune -o"
            rf" \( -type d -printf '%p\t%y %m %U:%G{more}\n' -o -printf '%p\t%y %m %U:%G %s %l{more}\n' \);"
            " find /etc /usr/local /opt /var/lib /var/log -xdev"
            rf" \( {pruned} \) -prune -o -type f -exec sha256sum -- {{}} + |"
            r" sed 's/^\\\?\([0-9a-f]*\)  \(.*\)/\2\t\1/'"
        )
        found: dict[str, str] = {}
        for line in self.sh(script).stdout.splitlines():
            path, _, what = line.partition("\t")
            found[path] = f"{found[path]} {what}" if path in found else what
        return found

    def wait(self, condition: Any, what: str, seconds: float) -> Any:
        """Wait until something holds, and return it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.25)
        pytest.fail(f"in {self.box.name}, {seconds} s were not enough for {what}\n{self.told()}")

    def told(self) -> str:
        """Return what there is to read when something went wrong."""
        script = 'cat /run/leaks.err /opt/mail/* "$1"/* "$2"/jobs/* 2>&1; journalctl --no-pager -n 60 2>/dev/null || :'
        return self.sh(script, self.log, self.state).stdout


def changes(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    """Return what differs between two listings, by path."""
    return {
        path: (before.get(path), after.get(path))
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
    }


@contextmanager
def host(suite: str, *, systemd: bool = False, pid: str | None = None, **places: str) -> Iterator[Host]:
    """Start a container with the rights that root has on a host."""
    if os.geteuid() != 0:
        pytest.skip("root of a container of an ordinary user may not see who holds what")
    with _one_at_a_time:  # who is first looks for an engine, and builds the image
        containers.image(suite)
    with containers.container(suite, systemd=systemd, pid=pid, capabilities=CAPABILITIES) as box:
        yield Host(box, **places)


def together(works: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    """Do several things at once, and return what came of each: what was raised stands in its place (``taken``)."""
    with ThreadPoolExecutor(len(works)) as pool:
        futures = {name: pool.submit(work) for name, work in works.items()}
        return {name: future.exception() or future.result() for name, future in futures.items()}


def taken(found: Any) -> Any:
    """Return what came of something done together; raise what it raised."""
    if isinstance(found, BaseException):
        raise found
    return found
