"""Run in a container, by whatever Python it has: leaves one object of each kind behind, and holds another of each.

All belong to a uid that runs no process. Those that are held are held by root: attached, mapped or open, waited on.
Prints their names as JSON (``{"gone": {kind: id}, "held": {...}}``) when that is so, and stays.

    python3 -I leaks.py UID [WORD]
"""

import ctypes
import json
import os
import sys
import threading
import time

UID = int(sys.argv[1])
WORD = sys.argv[2] if sys.argv[2:] else ""
SIZE = 4096
CREATE = 0o1000 | 0o2000  # IPC_CREAT | IPC_EXCL

libraries = [ctypes.CDLL(None, use_errno=True), ctypes.CDLL("librt.so.1", use_errno=True)]  # mq_open before glibc 2.34


def call(name, *words, result=ctypes.c_int):
    """Call a function of the C library; its errors are ours."""
    function = next(getattr(one, name) for one in libraries if hasattr(one, name))
    function.restype = result
    found = function(*words)
    if found in (-1, 2**64 - 1):  # as an int, and as an address
        raise OSError(ctypes.get_errno(), name + ": " + os.strerror(ctypes.get_errno()))
    return found


def made(word):
    """Make one object of each kind; return what the kernel calls them."""
    word += WORD
    for name, size in (("psm_" + word, SIZE), ("sem." + word, 32)):
        file = os.open("/dev/shm/" + name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        os.write(file, b"x" * size)
        os.close(file)
    queue = "/" + word
    small = (ctypes.c_long * 8)(0, 1, 8)  # struct mq_attr: a user may have 800 kB of queues on the whole machine
    os.close(call("mq_open", queue.encode(), os.O_CREAT | os.O_EXCL | os.O_RDWR, ctypes.c_uint(0o600), small))
    return {
        "shm": call("shmget", 0, ctypes.c_size_t(SIZE), CREATE | 0o600),
        "sem": call("semget", 0, 2, CREATE | 0o600),
        "msg": call("msgget", 0, CREATE | 0o600),
        "posix-shm": "/psm_" + word,
        "posix-sem": "/sem." + word,
        "posix-mq": queue,
    }


def as_owner(word):
    """Have a child make them, which ends."""
    reader, writer = os.pipe()
    if not os.fork():
        os.setgid(UID)
        os.setuid(UID)
        os.umask(0o077)
        os.write(writer, json.dumps(made(word)).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        text = pipe.read()
    os.wait()
    return json.loads(text)


class Sembuf(ctypes.Structure):
    """An operation on a semaphore (semop(2))."""

    _fields_ = (("num", ctypes.c_ushort), ("op", ctypes.c_short), ("flags", ctypes.c_short))


def wait_for(name, *words):
    """Block in a call that never ends."""
    threading.Thread(target=call, args=(name, *words), daemon=True).start()


def held(names):
    """Hold each of them."""
    call("shmat", names["shm"], None, 0, result=ctypes.c_ulong)
    wait_for("semop", names["sem"], ctypes.byref(Sembuf(0, -1, 0)), ctypes.c_size_t(1))
    wait_for("msgrcv", names["msg"], ctypes.create_string_buffer(64), ctypes.c_size_t(32), ctypes.c_long(0), 0)
    for kind in ("posix-shm", "posix-sem"):
        file = os.open("/dev/shm" + names[kind], os.O_RDWR)
        call("mmap", None, ctypes.c_size_t(SIZE), 3, 1, file, ctypes.c_long(0), result=ctypes.c_ulong)
        os.close(file)
    call("mq_open", names["posix-mq"].encode(), os.O_RDWR)


names = {"gone": as_owner("gone"), "held": as_owner("held")}
held(names["held"])
time.sleep(0.3)  # until both threads are in their calls
print(json.dumps(names), flush=True)
os.close(1)
time.sleep(3600)
