"""Run as part of the unit, and outside of it: what a process may do there, one line of JSON.

    python3 -I probe.py DIRECTORY

DIRECTORY is one that the unit may write to.
"""

import ctypes
import errno
import json
import mmap
import os
import socket
import sys

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWIPC = 0x08000000
UNAME26 = 0x0020000


def call(name, *words):
    """Call a function of the C library; its errors are ours."""
    if getattr(libc, name)(*words) == -1:
        raise OSError(ctypes.get_errno(), name)


def tried(function, *words):
    """Return ``done``, or the error's name."""
    try:
        function(*words)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"


def write(path):
    """Make a file and take it away again."""
    with open(path, "w"):
        pass
    os.unlink(path)


def setuid_file(path):
    """Make a file that runs as its owner."""
    with open(path, "w"):
        pass
    try:
        os.chmod(path, 0o4755)
    finally:
        os.unlink(path)


def mount():
    """Mount something, and take it away again."""
    call("mount", b"none", b"/mnt", b"tmpfs", 0, None)
    call("umount", b"/mnt")


directory = sys.argv[1]
with open("/proc/self/status") as file:
    status = dict(line.rstrip("\n").split(":\t", 1) for line in file)
found = {
    "status": {name: status[name] for name in ("NoNewPrivs", "Seccomp", "CapBnd", "CapEff")},
    "namespaces": {name: os.readlink("/proc/self/ns/" + name) for name in ("mnt", "net", "uts", "ipc", "pid")},
    "nice": os.nice(0),
    "umask": "%04o" % os.umask(0),
    "root's home": len(os.listdir("/root")),
    "/var/tmp": sorted(os.listdir("/var/tmp")),
    "devices": sorted(os.listdir("/dev")),
    "write /etc": tried(write, "/etc/ipcops-probe"),
    "write /usr": tried(write, "/usr/ipcops-probe"),
    "write there": tried(write, directory + "/probe"),
    "write /dev/shm": tried(write, "/dev/shm/probe"),
    "setuid file": tried(setuid_file, directory + "/probe"),
    "mount": tried(mount),
    "AF_INET": tried(lambda: socket.socket(socket.AF_INET).close()),
    "AF_NETLINK": tried(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()),
    "AF_UNIX": tried(lambda: socket.socket(socket.AF_UNIX).close()),
    "write and execute": tried(lambda: mmap.mmap(-1, 4096, prot=7).close()),
    "personality": tried(call, "personality", UNAME26),
    "new IPC namespace": tried(call, "unshare", CLONE_NEWIPC),  # the last, as it stays so
}
print("PROBE " + json.dumps(found))
