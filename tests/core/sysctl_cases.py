"""Which file wins: small trees, and what each loader makes of ``kernel.shmmni``, as seen on Debian 12.

tests/core/test_loaders.py holds the simulation to it, tests/kernel/test_loaders.py the loaders themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

KEY = "kernel.shmmni"
DEFAULT = 4096

ETC, RUN, LIB = "/etc/sysctl.d/", "/run/sysctl.d/", "/usr/lib/sysctl.d/"
CONF = "/etc/sysctl.conf"

Answer = Tuple[int, Optional[str]]
"""The value in the end, and file and line that decide; ``None`` where no line does."""


class SysctlCase(NamedTuple):
    """A tree, as ``Ground.fill`` takes it, and the answers."""

    name: str
    files: Dict[str, Any]
    systemd: Answer
    procps: Answer


def sets(value: object) -> bytes:
    return b"%s = %s\n" % (KEY.encode(), str(value).encode())


LINK = Path("../sysctl.conf")

CASES = (
    SysctlCase(
        "a later vendor file beats ours",
        {ETC + "60-ipcops.conf": sets(11), LIB + "99-vendor.conf": sets(22)},
        (22, LIB + "99-vendor.conf:1"), (22, LIB + "99-vendor.conf:1"),
    ),
    SysctlCase(
        "of one name /etc beats /usr/lib",
        {ETC + "60-ipcops.conf": sets(11), LIB + "60-ipcops.conf": sets(22)},
        (11, ETC + "60-ipcops.conf:1"), (11, ETC + "60-ipcops.conf:1"),
    ),
    SysctlCase(
        "of one name /etc beats /run",
        {ETC + "60-ipcops.conf": sets(11), RUN + "60-ipcops.conf": sets(22)},
        (11, ETC + "60-ipcops.conf:1"), (11, ETC + "60-ipcops.conf:1"),
    ),
    SysctlCase(
        "99-ipcops.conf comes before the link to sysctl.conf",
        {ETC + "99-ipcops.conf": sets(11), ETC + "99-sysctl.conf": LINK, CONF: sets(22)},
        (22, CONF + ":1"), (22, CONF + ":1"),
    ),
    SysctlCase(
        "zz-ipcops.conf comes after the link, but procps reads sysctl.conf again",
        {ETC + "zz-ipcops.conf": sets(11), ETC + "99-sysctl.conf": LINK, CONF: sets(22)},
        (11, ETC + "zz-ipcops.conf:1"), (22, CONF + ":1"),
    ),
    SysctlCase(
        "without the link systemd does not read sysctl.conf",
        {ETC + "99-ipcops.conf": sets(11), CONF: sets(22)},
        (11, ETC + "99-ipcops.conf:1"), (22, CONF + ":1"),
    ),
    SysctlCase(
        "dots and slashes spell one key",
        {ETC + "a.conf": sets(11) + b"kernel/shmmni = 22\n"},
        (22, ETC + "a.conf:2"), (22, ETC + "a.conf:2"),
    ),
    SysctlCase(
        "a key with - is assigned",
        {ETC + "a.conf": b"-kernel.shmmni = 22\n"},
        (22, ETC + "a.conf:1"), (22, ETC + "a.conf:1"),
    ),
    SysctlCase(
        "a key beats a later pattern",
        {ETC + "a.conf": sets(11), ETC + "b.conf": b"kernel.shmm*i = 22\n"},
        (11, ETC + "a.conf:1"), (11, ETC + "a.conf:1"),
    ),
    SysctlCase(
        "a link to /dev/null masks",
        {ETC + "a.conf": Path("/dev/null"), LIB + "a.conf": sets(22)},
        (DEFAULT, None), (DEFAULT, None),
    ),
    SysctlCase(
        "a later value that the kernel refuses",
        {ETC + "a.conf": sets(11), ETC + "b.conf": sets(99999)},
        (DEFAULT, None), (11, ETC + "a.conf:1"),
    ),
    SysctlCase(
        "in one file the last line counts",
        {ETC + "a.conf": sets(11) + sets(22)},
        (22, ETC + "a.conf:2"), (22, ETC + "a.conf:2"),
    ),
    SysctlCase(
        "names sort as text",
        {ETC + "9-a.conf": sets(11), ETC + "10-b.conf": sets(22)},
        (11, ETC + "9-a.conf:1"), (11, ETC + "9-a.conf:1"),
    ),
    SysctlCase(
        "the kernel stops at the end of the number",
        {ETC + "a.conf": sets("1001 # comment")},
        (1001, ETC + "a.conf:1"), (1001, ETC + "a.conf:1"),
    ),
    SysctlCase(
        "a file without .conf is not read",
        {ETC + "a.conf": sets(11), ETC + "b": sets(22)},
        (11, ETC + "a.conf:1"), (11, ETC + "a.conf:1"),
    ),
    SysctlCase(
        "small letters sort after capitals",
        {ETC + "A.conf": sets(11), ETC + "a.conf": sets(22)},
        (22, ETC + "a.conf:1"), (22, ETC + "a.conf:1"),
    ),
)  # fmt: skip

SPELLINGS: List[Tuple[bytes, Optional[int], Optional[int]]] = [
    (b"kernel//shmmni = 7", 7, 7),
    (b"/kernel/shmmni = 7", 7, 7),
    (b".kernel.shmmni = 7", 7, 7),
    (b"kernel..shmmni = 7", 7, 7),
    (b"kernel/./shmmni = 7", 7, 7),
    (b"kernel/shmmni/ = 7", 7, None),
    (b"kernel.shmmni. = 7", 7, None),
    (b"- kernel.shmmni = 7", 7, None),
    (b"--kernel.shmmni = 7", None, 7),
    (b"kernel.shm/mni = 7", None, None),
    (b"/proc/sys/kernel/shmmni = 7", None, None),
    (b"Kernel.shmmni = 7", None, None),
    (b"kernel.shmmni == 7", None, None),
    (b'kernel.shmmni = "7"', None, None),
    (b"kernel.shmmni = 7\\\n", None, None),
    (b"kernel.shmmni \\\n = 7", None, None),
    (b"kernel.shmmni = 7\r\n", 7, 7),
    (b"kernel.domainname = x\rkernel.shmmni = 7", 7, None),
    (b"kernel.domainname = x\0kernel.shmmni = 7", 7, None),
    (b"\vkernel.shmmni = 7", None, 7),
    (b"kernel.shmmni = 0x7", 7, 7),
    (b"kernel.shmmni = 07", 7, 7),
    (b"kernel.shmmni = 09", None, None),
    (b"kernel.shmmni = 7.0", None, None),
    (b"kernel.shmmni = +7", None, None),
    (b"kernel.shmmni = 7 rubbish", 7, 7),
    (b"kernel.shmmni =", None, None),
    (b"kernel.shmmni", None, None),
    (b"# kernel.shmmni = 7", None, None),
    (b"  ; kernel.shmmni = 7", None, None),
    (b"kernel.shmmni = 7\n-kernel.shmmni", None, 7),
    (b"-kernel.shmmni\nkernel.shmmni = 7", 7, 7),
    (b"kernel.shm* = 7\n-kernel.shmmni", None, None),
    (b"kernel.shm* = 7\n-kernel.shm*", None, 7),
    (b"kernel.shm* = 7\nkernel.shmm* = 8", 8, 8),
    (b"kernel.shmm* = 8\nkernel.shm* = 7\nkernel.shmm* = 8", 7, 8),
    (b"k*/shmmni = 7", 7, 7),
    (b"kernel* = 7", None, None),
    (b"*.shmmni = 7", 7, 7),
    (b"kernel.[q-t]hmmni = 7", 7, 7),
    (b"kernel.[!q-t]hmmni = 7", None, None),
    (b"kernel.[^a]hmmni = 7", 7, 7),
    (b"kernel.s?mmni = 7", 7, 7),
    (b"kernel.s[h = 7", None, None),
]
"""Lines, and what ``kernel.shmmni`` is then for systemd and procps 4; ``None`` where nothing sets it."""
