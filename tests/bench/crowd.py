"""Many small processes with many descriptors each: `python -IS crowd.py COUNT [THREADS]`.

It is run as a script of its own, not imported, so that what it forks is small. It prints
one line when everybody is there, and ends everybody, by id, when its standard input ends:
at the latest when the harness dies, however it dies. Should it be killed itself, the line
between it and its children breaks, and they go.
"""

from __future__ import annotations

import _thread
import contextlib
import mmap
import os
import signal
import socket
import sys
from typing import NoReturn

PIPES = 6  # with both ends; the 13th pipe end is the line to the parent
PAIRS, DATAGRAMS, LISTENERS = 5, 2, 1  # 13 sockets
FILES = 13  # and one below /dev/shm
DESCRIPTORS = 1 + 2 * PIPES + 2 * PAIRS + DATAGRAMS + LISTENERS + FILES + 1
SHARING = 10  # processes to a file below /dev/shm, as with the workers of a service
MIX = (
    f"{1 + 2 * PIPES} pipe ends, {2 * PAIRS} UNIX sockets (pairs), {DATAGRAMS} UDP and "
    f"{LISTENERS} listening TCP on loopback, {FILES} regular files, 1 mapped file in /dev/shm "
    f"(shared by {SHARING})"
)


def main(count: int, threads: int = 1) -> None:
    """Make the crowd, of so many threads each, keep it, end it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the harness closes our standard input
    line, hold = os.pipe()
    done, tell = os.pipe()
    pids: list[int] = []
    names: list[str] = []
    try:
        for number in range(count):
            if number % SHARING == 0:
                names.append(f"/dev/shm/ipcops-bench-{os.getpid()}-{number}")
            pid = os.fork()
            if not pid:
                be_member(line, tell, (hold, done), names[-1], threads)
            pids.append(pid)
        os.close(tell)
        missing = count
        while missing and (words := os.read(done, missing)):
            missing -= len(words)
        os.close(done)
        sys.stdout.write("ready\n" if not missing else f"{missing} could not open everything\n")
        sys.stdout.flush()
        sys.stdin.read()
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)


def be_member(line: int, tell: int, others: tuple[int, ...], name: str, threads: int) -> NoReturn:
    """Open everything, say so, and wait for the end."""
    try:
        for descriptor in others:
            os.close(descriptor)
        kept = open_all(name)
        for _ in range(threads - 1):
            _thread.start_new_thread(os.read, (line, 1))
        os.write(tell, b".")
        os.close(tell)
        os.read(line, 1)
        kept.clear()
    finally:
        os._exit(0)


def open_all(name: str) -> list[object]:
    """Open everything but the line; the descriptors live as long as the answer."""
    kept: list[object] = []
    library = os.path.dirname(os.__file__)
    files = sorted(entry for entry in os.listdir(library) if entry.endswith(".py"))
    for number, entry in enumerate(files[:FILES]):
        descriptor = os.open(os.path.join(library, entry), os.O_RDONLY)
        if number < 3:  # in the place of standard input, output and error
            os.dup2(descriptor, number)
            os.close(descriptor)
    for _ in range(PIPES):
        os.pipe()
    for _ in range(PAIRS):
        kept.extend(socket.socketpair())
    for _ in range(DATAGRAMS):
        datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagram.bind(("127.0.0.1", 0))
        kept.append(datagram)
    kept.extend(socket.create_server(("127.0.0.1", 0)) for _ in range(LISTENERS))
    shared = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
    os.truncate(shared, mmap.PAGESIZE)
    kept.append(mmap.mmap(shared, mmap.PAGESIZE))  # it keeps a descriptor of its own
    os.close(shared)
    return kept


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
