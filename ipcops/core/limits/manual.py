"""What has to be put where by hand for the limits that are no sysctl: the exact text."""

from __future__ import annotations

from ..tuples import NamedTuple
from .parameters import UNLIMITED


class Snippet(NamedTuple):
    """What to write into which file, the command that sets it now, and a word for containers."""

    file: str
    text: str
    command: str
    note: str = ""


def snippet(name: str, value: int) -> Snippet:
    """Return what sets a limit that is no sysctl."""
    if name == "logind.RemoveIPC":
        text = "[Login]\nRemoveIPC=%s\n" % ("yes" if value else "no")
        return Snippet("/etc/systemd/logind.conf.d/ipcops.conf", text, "systemctl restart systemd-logind")
    if name == "dev_shm.size":
        option = "size=%d" % value
        note = "of a container: --shm-size=%d, in Kubernetes an emptyDir of medium Memory" % value
    elif name.startswith("dev_shm."):
        option, note = name.partition(".")[2], ""
    else:
        return _resource(name.partition(".")[2], value)
    text = "tmpfs /dev/shm tmpfs defaults,%s 0 0\n" % option
    return Snippet("/etc/fstab", text, "mount -o remount,%s /dev/shm" % option, note)


def _resource(item: str, value: int) -> Snippet:
    """Return the lines for a resource limit: limits.conf(5) has kilobytes for what a process locks."""
    number = "infinity" if value >= UNLIMITED else str(value)
    count = "unlimited" if value >= UNLIMITED else str(-(-value // 1024) if item == "memlock" else value)
    note = "of a service: Limit%s=%s in its unit; of a container: --ulimit %s=%s" % (
        item.upper(), number, item, "-1" if value >= UNLIMITED else value)  # fmt: skip
    return Snippet("/etc/security/limits.d/ipcops.conf", "USER - %s %s\n" % (item, count), "log in again", note)
