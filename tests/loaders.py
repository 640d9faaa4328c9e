"""The loaders of sysctl files themselves, run where a mistake can touch nothing.

``Ground`` makes a root directory of its own in the mount namespace of a world (tests/world.py): this
machine's or a container's programs, empty directories for sysctl files, and a /proc/sys in which only
what an IPC namespace has of its own can be written. Each run of a loader has a new IPC namespace.
"""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ipcops.core.collect.sysctld import read_tree
from ipcops.core.fs import Directory
from ipcops.core.limits.loaders import CONF, DIRECTORIES, PROCPS, SYSTEMD, Tree
from tests.world import (
    CLONE_NEWIPC,
    CLONE_NEWNS,
    MS_BIND,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    as_uid,
    mount,
    unshare,
)

libc = ctypes.CDLL(None, use_errno=True)

KEYS = (
    "kernel.shmmax", "kernel.shmall", "kernel.shmmni", "kernel.shm_rmid_forced", "kernel.msgmax", "kernel.msgmnb",
    "kernel.msgmni", "kernel.sem", "fs.mqueue.queues_max", "fs.mqueue.msg_max", "fs.mqueue.msgsize_max",
    "fs.mqueue.msg_default", "fs.mqueue.msgsize_default",
)  # fmt: skip
"""All of an IPC namespace's own."""
COMMANDS = {
    SYSTEMD: (("/usr/lib/systemd/systemd-sysctl",), ("/lib/systemd/systemd-sysctl",)),
    PROCPS: (("/usr/sbin/sysctl", "--system"), ("/sbin/sysctl", "--system")),
}
LAYERS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


class Ground:
    """A root directory with the loaders, their files and nothing else that they could change."""

    def __init__(self, place: Path, *, split: bool = False) -> None:
        """Make it below *place*, an empty directory. *split*: /lib is a directory beside /usr/lib, as it once was."""
        self.root = place
        mount("tmpfs", str(place), "tmpfs", 0, "mode=755,size=64m")
        for name in ("usr", "etc", "run", "proc", "dev", "tmp"):
            (place / name).mkdir()
        mount("/usr", str(place / "usr"), None, MS_BIND)
        mount("none", str(place / "usr"), None, MS_BIND | MS_REMOUNT | MS_RDONLY)
        for path in ("usr/local", "usr/lib/sysctl.d"):
            if not (place / path).is_dir():
                pytest.skip(f"there is no /{path} to mount over")
            mount("tmpfs", str(place / path), "tmpfs", 0, "mode=755,size=16m")
        for name in LAYERS:
            self._layer(name, split=split and name == "lib")
        (place / "dev/null").touch()
        mount("/dev/null", str(place / "dev/null"), None, MS_BIND)

    def _layer(self, name: str, *, split: bool) -> None:
        theirs, ours = Path("/", name), self.root / name
        if split:
            if not theirs.is_symlink():
                pytest.skip("/lib is a directory here already")
            ours.mkdir()
            for entry in os.listdir("/usr/lib"):
                if entry != "sysctl.d":
                    (ours / entry).symlink_to(f"/usr/lib/{entry}")
        elif theirs.is_symlink():
            ours.symlink_to(os.readlink(theirs))
        elif theirs.is_dir():
            ours.mkdir()
            mount(str(theirs), str(ours), None, MS_BIND)

    def _proc(self) -> None:
        """Mount a /proc with nothing to write but KEYS, as this IPC namespace has them: no other sees the mounts."""
        proc = self.root / "proc"
        mount("proc", str(proc), "proc")
        writable = [os.open(proc / "sys" / key.replace(".", "/"), os.O_PATH) for key in KEYS]
        mount(str(proc / "sys"), str(proc / "sys"), None, MS_BIND)
        mount("none", str(proc / "sys"), None, MS_BIND | MS_REMOUNT | MS_RDONLY)
        for key, descriptor in zip(KEYS, writable, strict=True):
            mount(f"{proc}/self/fd/{descriptor}", str(proc / "sys" / key.replace(".", "/")), None, MS_BIND)
            os.close(descriptor)
        with pytest.raises(OSError, match="Read-only"):
            (proc / "sys/kernel/printk").open("w").close()

    def fill(self, files: Mapping[str, Any]) -> None:
        """Have just these files: bytes, a ``Path`` that a link leads to, or ``None`` for a directory."""
        for directory in DIRECTORIES:
            place = self.root / directory[1:]
            shutil.rmtree(place, ignore_errors=True)  # of a mount the contents alone
            place.mkdir(parents=True, exist_ok=True)
        (self.root / CONF[1:]).unlink(missing_ok=True)
        for path, content in files.items():
            where = self.root / path[1:]
            if content is None:
                where.mkdir()
            elif isinstance(content, Path):
                where.symlink_to(content)
            else:
                where.write_bytes(content)

    def tree(self) -> Tree:
        """Return what the reader makes of the files."""
        return self._inside(lambda: read_tree(Directory.open("/")))

    def load(self, loader: str) -> dict[str, tuple[int, ...]]:
        """Run a loader in a new IPC namespace; return what the settings have then."""
        return self._inside(lambda: (_run(loader), values())[1])

    def defaults(self) -> dict[str, tuple[int, ...]]:
        """Return what the settings have in a new IPC namespace."""
        return self._inside(values)

    def _inside(self, function: Any) -> Any:
        def enter() -> Any:
            unshare(CLONE_NEWIPC | CLONE_NEWNS)
            self._proc()
            os.chroot(self.root)
            os.chdir("/")
            return function()

        return as_uid(None, enter)


def enter_container(pid: int) -> Path:
    """Have the files of a container from here on, in a copy of its mount namespace; return an empty directory there."""
    descriptor = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
    if libc.setns(descriptor, CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "setns")
    os.close(descriptor)
    unshare(CLONE_NEWNS)
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    return Path("/mnt")


def values() -> dict[str, tuple[int, ...]]:
    """Return what the settings have here."""
    return {
        key: tuple(map(int, Path("/proc/sys", key.replace(".", "/")).read_text().split())) for key in KEYS
    }


def _run(loader: str) -> None:
    command = next((one for one in COMMANDS[loader] if os.path.exists(one[0])), None)
    if command is None:
        pytest.skip(f"{loader} is not installed")
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, env={}, timeout=20)
    assert done.returncode in (0, 1, 254, 255), done.stderr.decode(errors="replace")


# ---------------------------------------------------------------- random files

NAMES = (
    "9-a.conf", "10-b.conf", "60-ipcops.conf", "99-sysctl.conf", "A.conf", "a.conf", "zz-ipcops.conf", ".hidden.conf",
    ".conf", "old.conf.bak", "README.sysctl", "\u00e9.conf", "Z z.conf",
)  # fmt: skip
NUMBERS = (
    "0", "1", "5", "100", "4096", "5000", "32768", "32769", "65536", "65537", "2147483647", "2147483648", "-1", "-5",
    "18446744073709551615", "18446744073709551616", "0x1000", "0X1f", "010", "08", "0x", "4G", "+7", "", "abc",
    "1,2", "1 2", "1\t2\t3", "250 32000 32 128", "1 2 3 99999", "5 6 7 2147483648", "1 2 3 4 5", "7 x 3 4", "300",
    "1001 # comment", "1001 ; comment", "1001#comment", "12.5", '"4096"', "4096\\", "0000000000000000000004096",
    "128 ", " 129", "=130", "1\v2", "131\f", "\u0661",
)  # fmt: skip
PATTERNS = (
    "kernel.shm*", "kernel.shmm*i", "kernel/msgm??", "kernel.[ms]*", "kernel.sh[!m]*", "kernel.msgm[a-n]*", "k*.shmmni",
    "*/msgmni", "fs.mqueue.*", "fs/mqueue/msg_*", "fs.mqueue.msg[^s]*", "kernel.*forced", "*.sem", "ker*l/s?m",
    "[k]ernel.sem", "kernel.shmmni*", "fs.*.msg_max", "kernel.[]s]em", "kernel.[z-a]em", "kernel.[s", "*",
)  # fmt: skip


def some_files(seed: int, *, split: bool = False, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Return random files for :meth:`Ground.fill`, about *keys* if given. *split*: also in a /lib that is no link."""
    chance = random.Random(seed)
    directories = DIRECTORIES if split else DIRECTORIES[:-1]
    keys = keys or chance.sample(KEYS, 3)  # few, so that they meet
    files: dict[str, Any] = {}
    for _ in range(chance.randint(1, 7)):
        path = f"{chance.choice(directories)}/{chance.choice(NAMES)}"
        kind = chance.random()
        if kind < 0.05:
            files[path] = Path("/dev/null")
        elif kind < 0.1:
            files[path] = Path(chance.choice(["../nowhere", "/etc/sysctl.d", "/etc/sysctl.conf", "../sysctl.conf"]))
        elif kind < 0.13:
            files[path] = None
        else:
            files[path] = _content(chance, keys)
    if chance.random() < 0.5:
        files[CONF] = _content(chance, keys) if chance.random() < 0.9 else Path("sysctl.d/60-ipcops.conf")
    if chance.random() < 0.3:
        files["/etc/sysctl.d/99-sysctl.conf"] = Path("../sysctl.conf")
    return files


def _content(chance: random.Random, keys: Sequence[str]) -> bytes:
    ends = ["\n"] * 30 + ["\r\n", "\r", "\0", "\n\n", "\n\r", ""]
    text = "".join(_line(chance, keys) + chance.choice(ends) for _ in range(chance.randint(0, 6)))
    return text.encode() + (b"\xff\n" if chance.random() < 0.05 else b"")


def _line(chance: random.Random, keys: Sequence[str]) -> str:
    if chance.random() < 0.12:
        key = chance.choice(keys)
        nothing = ["", " ", "# " + key, ";" + key + "=1", "  # x = 1", key, "=5", "==" + key + "=9", "\t", "-", "x"]
        return chance.choice(nothing)
    key = _spelled(chance, chance.choice(PATTERNS) if chance.random() < 0.15 else chance.choice(keys))
    if chance.random() < 0.12:
        return chance.choice(["-%s", "- %s", "-%s ", "--%s"]) % key
    mark = chance.choice([""] * 10 + ["-", "- ", "--", " ", "\t", " -"])
    equals = chance.choice(["=", " = ", "= ", "\t=\t", "=="] if chance.random() < 0.3 else ["=", " = "])
    value = chance.choice(NUMBERS) if chance.random() < 0.5 else str(chance.randint(0, 40000))
    if key.endswith("sem") and chance.random() < 0.5:
        value = " ".join(str(chance.randint(1, 33000)) for _ in range(chance.randint(1, 5)))
    return mark + key + equals + value


def _spelled(chance: random.Random, key: str) -> str:
    """Return a key in one of the spellings that mean it, or nearly."""
    kind = chance.random()
    if kind < 0.7:
        return key
    slashed = key.replace(".", "/") if "/" not in key else key
    spellings = (
        slashed, slashed, "/" + slashed, slashed.replace("/", "//"), slashed + "/", "./" + slashed, key.upper(),
        slashed.replace("/", "/./"), key + ".", "." + key, key.replace(".", ".."), "/proc/sys/" + slashed,
        key.replace(".", "/", 1), key + " x", "kernel/../" + slashed,
    )  # fmt: skip
    return chance.choice(spellings)
