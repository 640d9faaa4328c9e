"""Leave IPC objects behind as crashed programs do, in namespaces of their own, and audit them.

``./do demo``. Nothing of it is visible outside, and all of it goes with the process. The objects
belong to a user without a name and without a process, so they are orphans; where we may not
become that user (no root), they stay ``idle``: their owner is there.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests import world

NOBODY_HERE = 4242
POLICY = """\
# A leak is called one after 24 hours; the demonstration cannot wait that long.
[audit]
orphan_age = 0
[scan]
unreadable_ok = init.scope
fifo_dirs = {directory}
"""
KINDS = ("shm", "sem", "msg", "posix-shm", "unix")  # what the job leaves; sockets are the whole machine's


def crash() -> None:
    """Make what a data-loading job might, and end without cleaning up."""
    os.umask(0)
    segment = world.shmget(12 << 20, key=0x0052E2C1)
    world.touch(world.shmat(segment), 4 << 20)
    for _ in range(40):
        world.semget(1)
    world.shm_file("psm_1a2b3c4d", b"x" * (3 << 20))
    world.shm_file("settings", mode=0o666)
    socket.socket(socket.AF_UNIX).bind(str(world.here() / "spool" / "loader.sock"))
    queue = world.msgget()
    world.msgsnd(queue, b"an order that nobody will read")


@world.in_world(mqueue=True, shm="size=64m")
def scene() -> None:
    """Crash, then audit."""
    spool = world.here() / "spool"
    spool.mkdir(mode=0o777)
    spool.chmod(0o777)
    world.as_uid(NOBODY_HERE, crash)
    policy = world.here() / "ipcops.conf"
    policy.write_text(POLICY.format(directory=spool), encoding="utf-8")
    kinds = [word for kind in KINDS for word in ("--kind", kind)]
    ipcops = Path(sys.executable).with_name("ipcops")
    command = [str(ipcops)] if ipcops.exists() else [sys.executable, "-m", "ipcops.core"]
    done = subprocess.run(
        [*command, "audit", "--fail-on", "none", "--policy", str(policy), *kinds, *sys.argv[1:]], check=False
    )
    if done.returncode not in (0, -signal.SIGPIPE):  # a reader that closes the pipe is no failure
        raise SystemExit(done.returncode)


if __name__ == "__main__":
    scene()
