"""Real containers, for tests.

``container("bookworm")`` starts one, of an image that is built on this machine the first time it is
asked for, and removes it whatever happens. Where that cannot be had (no podman, no mirror of Debian)
the test is skipped with the reason.

Nothing of the machine's own podman is used or changed: images and containers lie in a storage of
their own below ``~/.cache/ipcops-tests`` (``make clean`` removes it), which is kept because building
an image takes half a minute and a fresh clone or another branch needs the same one. What must not
outlive a boot lies below ``/run``. Only the package mirror and proxy are the machine's own.

A container is labelled with who made it. A run that was killed leaves its containers running; the
next run finds that their maker is gone and removes them, and an hour later they end by themselves.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import io
import json
import os
import re
import resource
import shutil
import subprocess
import tarfile
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = (
    "python3", "procps", "util-linux", "cron", "logrotate", "openssh-server", "iproute2", "systemd", "systemd-sysv",
)  # fmt: skip
# In an empty root directory. systemd applies /usr/lib/sysctl.d, and where /proc/sys is writable (some
# tests need that) it would write fs.protected_fifos and the like, which are the host's.
FINISH = "ln -sf /dev/null etc/systemd/system/systemd-sysctl.service"
LABEL = "ipcops.tests.maker"
# PID 1 of a container without systemd: it has to reap, or the dead would count as processes for ever.
SLEEPER = ("sh", "-c", "while :; do sleep 3600 & wait $!; done")

# The limits of an IPC namespace, below /proc/sys.
OWN_LIMITS = (
    "kernel/shmmax", "kernel/shmall", "kernel/shmmni", "kernel/shm_rmid_forced", "kernel/sem", "kernel/msgmax",
    "kernel/msgmnb", "kernel/msgmni", "fs/mqueue",
)  # fmt: skip
# A fresh /proc has a writable sys: only the settings of this IPC namespace are laid over the read-only ones.
UNMASK = f"""
mkdir -p /run/fresh
mount -t proc proc /run/fresh
for key in {" ".join(OWN_LIMITS)}; do
    mount --bind /run/fresh/sys/$key /proc/sys/$key
done
umount -l /run/fresh
rmdir /run/fresh
"""

LIFETIME = 3600  # seconds after which conmon kills a container that nobody removed
BUILD_TIMEOUT = 400  # seconds for the download and installation of an image
START_TIMEOUT = 60  # seconds until a container, with its systemd, is up

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "ipcops-tests")

# lock_type: podman's locks would be /dev/shm/libpod_lock, shared with the machine's own podman, and
# absent from the /dev/shm of a world (tests/world.py).
SETTINGS = f"""\
[containers]
log_driver = "k8s-file"
[engine]
events_logger = "file"
lock_type = "file"
[network]
network_config_dir = {json.dumps(str(CACHE / "networks"))}
"""


class Engine(NamedTuple):
    """A podman that was seen to work, with the options that make it so."""

    words: tuple[str, ...]  # the command and its global options
    limits: tuple[str, ...]  # options of `run` and the like

    def ask(self, *words: str, text: str | None = None, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command of podman's; its status is for the caller to judge."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CONTAINER")}
        environment["CONTAINERS_CONF"] = str(CACHE / "containers.conf")
        # Without `input`, an empty standard input: podman must not read the terminal's.
        return subprocess.run(
            [*self.words, *words],
            env=environment,
            input=text or "",
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=timeout,
            check=False,
        )


# ---------------------------------------------------------------------------------------------
# The engine


def engine() -> Engine:
    """Return a podman that can start containers; skip the test where there is none."""
    found = _engine()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@functools.cache
def _engine() -> Engine | str:
    """Return an engine, or why there is none. Sweeps once it has one."""
    podman = shutil.which("podman")
    if podman is None:
        return "podman is not installed"
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
        fresh = CACHE / f"containers.conf.{os.getpid()}"
        fresh.write_text(SETTINGS)
        fresh.replace(CACHE / "containers.conf")
    except OSError as error:
        return f"no place for containers: {error}"
    place = _runtime_directory()
    words = (podman, f"--root={CACHE}/storage", f"--runroot={place}/storage", f"--tmpdir={place}/tmp")
    reasons = []
    # What podman takes by itself comes first: it may be a crun that fails where runc works (cgroups
    # in hybrid mode), or be missing from its PATH.
    runtimes = [shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") for name in ("crun", "runc")]
    for options in ((), *((f"--runtime={runtime}",) for runtime in runtimes if runtime)):
        candidate = Engine((*words, *options), _limits())
        reason = _try(candidate)
        if not reason:
            sweep(candidate)
            return candidate
        reasons.append(reason)
    return "podman cannot start a container: " + "; ".join(dict.fromkeys(reasons))


def _runtime_directory() -> Path:
    """Return a directory that is empty after a boot.

    It is always the same for one cache, whatever the environment: podman's database remembers it.
    """
    place = Path("/run" if os.geteuid() == 0 else f"/run/user/{os.geteuid()}")
    cache = hashlib.sha256(os.fsencode(CACHE)).hexdigest()[:8]
    return (place if place.is_dir() else Path("/tmp")) / f"ipcops-tests-{cache}"


def _limits() -> tuple[str, ...]:
    """Return podman's options for limits no higher than ours.

    By itself it asks for a million of each, which without CAP_SYS_RESOURCE is refused. It lowers its
    own RLIMIT_NPROC to kernel.pid_max before it starts anything.
    """

    def highest(which: int, bound: int) -> int:
        hard = resource.getrlimit(which)[1]
        return bound if hard == resource.RLIM_INFINITY else min(hard, bound)

    nofile = highest(resource.RLIMIT_NOFILE, int(Path("/proc/sys/fs/nr_open").read_text()))
    nproc = highest(resource.RLIMIT_NPROC, int(Path("/proc/sys/kernel/pid_max").read_text()))
    return (f"--ulimit=nofile={nofile}:{nofile}", f"--ulimit=nproc={nproc}:{nproc}")


def _try(candidate: Engine) -> str:
    """Have a container made (not started) of an image with nothing in it; return why that failed, or ''."""
    trial, name = "localhost/ipcops-tests/trial", f"ipcops-trial-{uuid.uuid4().hex[:12]}"
    try:
        if candidate.ask("image", "exists", trial).returncode:
            with tempfile.NamedTemporaryFile(suffix=".tar") as file:
                with tarfile.open(fileobj=file, mode="w") as archive:
                    init = tarfile.TarInfo("init")  # looked for, never run
                    init.mode = 0o755
                    archive.addfile(init, io.BytesIO())
                file.flush()
                done = candidate.ask("import", "--quiet", file.name, trial)
                if done.returncode:
                    return _said(done)
        try:
            options = (f"--name={name}", f"--label={LABEL}={_maker()}", "--network=none", *candidate.limits)
            done = candidate.ask("create", *options, trial, "/init")
            if not done.returncode:
                done = candidate.ask("init", name)
            return _said(done) if done.returncode else ""
        finally:
            candidate.ask("rm", "--force", "--ignore", "--time=0", name)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)


def _said(done: subprocess.CompletedProcess[str]) -> str:
    """Return the line that tells what went wrong."""
    lines = done.stderr.strip().splitlines() or [f"status {done.returncode}, and no word"]
    return next((line for line in lines if re.match(r"E: |Error", line)), lines[-1])


# ---------------------------------------------------------------------------------------------
# Images


def image(suite: str) -> str:
    """Return the name of an image of a Debian suite, built if need be; skip where that cannot be done."""
    engine()
    name, reason = _image(suite)
    if reason:
        pytest.skip(reason)
    return name


@functools.cache
def _image(suite: str) -> tuple[str, str]:
    """Return the image's name, and why there is none or ''. Only one run at a time builds."""
    podman = engine()
    recipe = hashlib.sha256("\0".join([*_mmdebstrap(suite), _containerfile(suite)]).encode()).hexdigest()[:16]
    name = f"localhost/ipcops-tests/{suite}:{recipe}"
    with _locked(CACHE / "build.lock"):
        if not podman.ask("image", "exists", name).returncode:
            return name, ""
        return name, build(podman, suite, name)


def build(podman: Engine, suite: str, name: str) -> str:
    """Build an image; return why that failed, or ''."""
    reasons = []
    with tempfile.TemporaryDirectory(prefix="ipcops-image-") as directory:
        if shutil.which("mmdebstrap"):
            archive = os.path.join(directory, "image.tar")
            # A gentle end, so that mmdebstrap takes its own directory away.
            command = ["timeout", "--kill-after=20", str(BUILD_TIMEOUT), *_mmdebstrap(suite), *_apt(), suite, archive]
            command += _mirror()
            done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if not done.returncode:
                done = podman.ask("import", "--quiet", archive, name, timeout=BUILD_TIMEOUT)
            if not done.returncode:
                return ""
            reasons.append(f"mmdebstrap: {_said(done)}")
        else:
            reasons.append("mmdebstrap is not installed")
        file = Path(directory, "Containerfile")
        file.write_text(_containerfile(suite))
        try:
            words = ("build", "--quiet", f"--tag={name}", f"--file={file}", "--network=host", *podman.limits, directory)
            done = podman.ask(*words, timeout=BUILD_TIMEOUT)
        except subprocess.TimeoutExpired:
            reasons.append(f"podman build took more than {BUILD_TIMEOUT} s")
        else:
            if not done.returncode:
                return ""
            reasons.append(f"podman build: {_said(done)}")
    return f"no image of Debian {suite}: " + "; ".join(reasons)


def _mmdebstrap(suite: str) -> list[str]:
    """Return the recipe of who needs nothing but a mirror of Debian."""
    unread = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man")]
    finish = f'--customize-hook=cd "$1" && {FINISH}'
    return ["mmdebstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", *unread, finish]


def _containerfile(suite: str) -> str:
    """Return the recipe of who needs no tool beside podman, but a registry."""
    install = f"apt-get update && apt-get install --yes --no-install-recommends {' '.join(PACKAGES)}"
    return f"FROM docker.io/library/debian:{suite}-slim\nRUN {install} && cd / && {FINISH}\n"


def _apt() -> list[str]:
    """Return how mmdebstrap downloads: through this machine's proxy, and giving up in time."""
    options = ['Acquire::Retries "1";', 'Acquire::http::Timeout "30";', 'Acquire::https::Timeout "30";']
    with suppress(OSError):
        asked = subprocess.run(["apt-config", "dump"], check=False, capture_output=True, text=True)
        options += re.findall(r"^Acquire::https?::Proxy.*;$", asked.stdout, flags=re.MULTILINE)
    return [f"--aptopt={option}" for option in options]


def _mirror() -> list[str]:
    """Return the mirror that this machine takes Debian's packages from; none leaves it to mmdebstrap."""
    command = ["apt-get", "indextargets", "Created-By: Packages", "Label: Debian", "--format=$(REPO_URI)"]
    with suppress(OSError):
        asked = subprocess.run(command, check=False, capture_output=True, text=True)
        return re.findall(r"^https?://.*", asked.stdout, flags=re.MULTILINE)[:1]
    return []


# ---------------------------------------------------------------------------------------------
# Containers


class Container:
    """A running container."""

    def __init__(self, podman: Engine, name: str) -> None:
        """Ask podman for its id, and for the pid of its first process as this host sees it."""
        self.podman = podman
        self.name = name
        self.id, pid = self._ask("inspect", "--format={{.Id}} {{.State.Pid}}", name).split()
        self.pid = int(pid)
        self.failed: tuple[str, ...] = ()  # systemd's units that did not come up

    def _ask(self, *words: str) -> str:
        done = self.podman.ask(*words)
        if done.returncode:
            pytest.fail(f"podman {words[0]} {self.name}: {_said(done)}")
        return done.stdout

    def exec(
        self,
        *argv: str,
        check: bool = True,
        input: str | None = None,  # noqa: A002 - as subprocess.run calls it
        user: str | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside; with ``check``, its failure is the test's."""
        words = ["exec", "--interactive", *([f"--user={user}"] if user is not None else []), self.id, *argv]
        done = self.podman.ask(*words, text=input, timeout=timeout)
        if check and done.returncode:
            pytest.fail(f"{argv} in {self.name}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def copy_in(self, path: str | os.PathLike[str], to: str) -> None:
        """Copy a file or directory of this host, as podman-cp(1) does."""
        self._ask("cp", os.fspath(path), f"{self.id}:{to}")

    def boot(self) -> None:
        """Wait until systemd has started what it is to start."""
        end = time.monotonic() + START_TIMEOUT
        while time.monotonic() < end:
            # Fails until systemd takes connections; from then on it waits by itself.
            done = self.exec("systemctl", "is-system-running", "--wait", check=False, timeout=START_TIMEOUT)
            if done.stdout.strip() in ("running", "degraded"):
                listed = self.exec("systemctl", "list-units", "--failed", "--plain", "--no-legend").stdout
                self.failed = tuple(line.split()[0] for line in listed.splitlines())
                return
            if self._ask("inspect", "--format={{.State.Running}}", self.id).strip() != "true":
                break
            time.sleep(0.05)
        pytest.fail(f"systemd did not come up in {self.name}: {done.stdout}{done.stderr}\n{self.said()}")

    def unmask(self) -> None:
        """Make the limits of its IPC namespace writable inside, and nothing else of /proc/sys."""
        here, there = (os.readlink(f"/proc/{who}/ns/ipc") for who in ("self", self.pid))
        assert here != there
        enter = ["nsenter", f"--target={self.pid}", "--ipc", "--net", "--pid", "--mount", "sh", "-ec", UNMASK]
        done = subprocess.run(enter, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        if done.returncode:
            pytest.fail(f"the limits of {self.name} cannot be made writable: {done.stderr}")

    def address(self) -> str:
        """Return its address in the network that it was given."""
        each = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return self._ask("inspect", f"--format={each}", self.id).strip()

    def said(self) -> str:
        """Return what its first process printed."""
        done = self.podman.ask("logs", self.id)
        return done.stdout + done.stderr


@contextmanager
def container(  # noqa: PLR0913 - each is an option of podman-run(1)
    suite: str,
    *,
    systemd: bool = False,
    ipc: str | None = None,
    network: str = "none",
    sysctl: Mapping[str, int | str] | None = None,
    mounts: Sequence[str] = (),
    capabilities: Sequence[str] = (),
    pid: str | None = None,
    writable_limits: bool = False,
    command: Sequence[str] = (),
) -> Iterator[Container]:
    """Start a container, wait until it is ready, and remove it in the end.

    ``ipc``, ``network`` and ``pid`` are as podman-run(1) says, ``mounts`` its ``HOST:CONTAINER[:ro]``,
    ``capabilities`` what is added to the few that it leaves to root, and
    ``sysctl`` sets what belongs to the container's own namespaces. Inside, /proc/sys is read-only:
    writable (``--security-opt unmask=/proc/sys``) it would be the host's, and systemd raises
    fs.file-max and fs.nr_open there when it starts. ``writable_limits`` opens what belongs to its
    own IPC namespace, after the start, which root alone can do. ``command`` replaces the first process.
    """
    podman, name = engine(), f"ipcops-{suite}-{uuid.uuid4().hex[:12]}"
    if writable_limits and os.geteuid() != 0:
        pytest.skip("only root may make the limits of a container writable")
    if systemd and os.geteuid() != 0 and not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        pytest.skip("systemd in a container of an ordinary user needs cgroup v2 alone")
    words = ["--detach", f"--name={name}", f"--label={LABEL}={_maker()}", f"--timeout={LIFETIME}", "--pull=never"]
    words += [f"--network={network}", *([f"--ipc={ipc}"] if ipc is not None else []), *podman.limits]
    words += [f"--cap-add={name}" for name in capabilities]
    words += [f"--pid={pid}"] if pid is not None else []
    words += [f"--sysctl={key}={value}" for key, value in (sysctl or {}).items()]
    words += [f"--volume={mount}" for mount in mounts]
    words += ["--systemd=always"] if systemd else []
    words += [image(suite), *(command or (("/sbin/init",) if systemd else SLEEPER))]
    try:
        done = podman.ask("run", *words)
        if done.returncode:
            pytest.fail(f"podman run {name}: {_said(done)}")
        box = Container(podman, name)
        if systemd:
            box.boot()
        if writable_limits:
            box.unmask()
        yield box
    finally:
        # By its name, which is nobody else's: its id is not known if the start was interrupted.
        removed = podman.ask("rm", "--force", "--ignore", "--time=0", name)
        assert not removed.returncode, f"{name} was not removed: {removed.stderr}"


@functools.cache
def network() -> str:
    """Return the name of a network from which this host reaches containers and nobody else does; skip without one."""
    podman, name = engine(), "ipcops-tests"
    with _locked(CACHE / "network.lock"):
        if podman.ask("network", "exists", name).returncode:
            done = podman.ask("network", "create", "--disable-dns", name)
            if done.returncode:
                pytest.skip(f"podman cannot make a network: {_said(done)}")
    return name


def sweep(podman: Engine) -> None:
    """Remove the containers, and the marks, of makers that are gone."""
    each = '--format={{.ID}} {{index .Labels "%s"}}' % LABEL
    listed = podman.ask("ps", "--all", "--no-trunc", f"--filter=label={LABEL}", each)
    containers = [line.split() for line in listed.stdout.splitlines()]
    gone = [number for number, maker in containers if not _lives(_makers() / maker)]
    if gone:
        podman.ask("rm", "--force", "--ignore", "--time=0", *gone)
    for mark in _makers().glob("*"):
        if not _lives(mark):
            mark.unlink(missing_ok=True)


# ---------------------------------------------------------------------------------------------
# Who lives: a maker keeps a file locked, which ends with it however it ends


def _makers() -> Path:
    return CACHE / "makers"


_held: list[IO[str]] = []  # the lock lasts as long as the file is open


@functools.cache
def _maker() -> str:
    """Return this process's mark: the name of a file that it keeps locked. Its forks share it."""
    _makers().mkdir(exist_ok=True)
    name = uuid.uuid4().hex
    fresh = CACHE / f"maker.{name}"
    _held.append(fresh.open("w"))
    fcntl.flock(_held[-1], fcntl.LOCK_EX)
    fresh.rename(_makers() / name)  # found by others only now that it is locked
    return name


def _lives(mark: Path) -> bool:
    """Tell whether a maker's file is locked."""
    try:
        with mark.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
